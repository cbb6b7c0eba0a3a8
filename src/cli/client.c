/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "src/cli/cli.h"
#include "src/kernel/dataplane.h"
#include "src/util/cleanup.h"

/* Compiling a large ruleset takes its time; a daemon that is stuck longer than this is broken. */
#define TIMEOUT_US (600 * 1000000ULL)
/* Then it is said, and waited on; a ruleset of 400,000 rules takes 20 s. */
#define PATIENCE_S 5
#define PATIENCE_APPLY_S 30

bool merlon_unit_of(const char *socket, const char *kind, char ret[MERLON_UNIT_ROOM])
{
	char name[MERLON_UNIT_ROOM] = "", escaped[4 * MERLON_UNIT_ROOM] = "", *out = escaped;
	const char *in;
	int end = 0;

	if (!strcmp(socket, MERLON_BUS_SOCKET))
		return snprintf(ret, MERLON_UNIT_ROOM, "%s.service", kind) > 0;
	if (sscanf(socket, MERLON_RUN_DIR "/%200[^/]/merlon.sock%n", name, &end) != 1 || !end || socket[end])
		return false;
	/* systemd.unit(5): what is no letter or digit is escaped, for %I to be the name */
	for (in = name; *in; in++)
		out += sprintf(out, isalnum((unsigned char)*in) || strchr(":_.", *in) ? "%c" : "\\x%02x", (unsigned char)*in);
	return snprintf(ret, MERLON_UNIT_ROOM, "%s@%s.service", kind, escaped) < MERLON_UNIT_ROOM;
}

/* For a shell: an escaped name has a backslash. */
static const char *quote(const char *unit)
{
	return strchr(unit, '\\') ? "'" : "";
}

/* Nobody answers, but what was in force need not be gone with the daemon. */
static void tell_pins(struct merlon_diag *diag)
{
	const char *pins = merlon_dataplane_defaults().pin_dir;

	if (access(pins, F_OK) < 0)
		return;
	merlon_diag_add(diag, MERLON_NOTE, (struct merlon_place){ 0 },
			"the data plane is still pinned below %s: a policy that was in force goes on filtering without merlond", pins);
	merlon_diag_cure(diag, "to see or change it start merlond again; to end it `merlon stop --force` needs no merlond");
}

static int cannot_connect(const char *path, int error, struct merlon_diag *diag)
{
	char daemon[MERLON_UNIT_ROOM], unit[MERLON_UNIT_ROOM];
	struct merlon_place nowhere = { 0 };

	if (error == ENOENT || error == ECONNREFUSED) {
		merlon_diag_add(diag, MERLON_ERROR, nowhere, "merlond is not running (nobody listens on %s)", path);
		/* systemd gives the socket up when the daemon could not start */
		if (merlon_unit_of(path, "merlond", daemon) && merlon_unit_of(path, "merlon", unit) && access("/run/systemd/system", F_OK) == 0)
			merlon_diag_cure(diag, "`journalctl -u %s%s%s` says why; then start it as root with `systemctl reset-failed %s%s%s; "
					 "systemctl restart %s%.*s.socket%s`, or by hand as before", quote(daemon), daemon, quote(daemon),
					 quote(daemon), daemon, quote(daemon), quote(unit), (int)(strlen(unit) - strlen(".service")), unit,
					 quote(unit));
		else
			merlon_diag_cure(diag, "start it as root with `merlond --socket %s`; or is it elsewhere: --socket, $MERLON_SOCKET?", path);
		tell_pins(diag);
	} else if (error == EACCES || error == EPERM) {
		merlon_diag_add(diag, MERLON_ERROR, nowhere, "you may not talk to merlond on %s", path);
		merlon_diag_cure(diag, getgrnam("merlon") ?
				 "run this as root; to read, join the group merlon (`adduser USER merlon`) and log in again" :
				 "run this as root; where there is a group merlon when merlond starts, its members may read");
	} else {
		merlon_diag_add(diag, MERLON_ERROR, nowhere, "cannot connect to %s: %s", path, strerror(error));
	}
	return -error;
}

static int connect_to(const char *path, sd_bus **ret, struct merlon_diag *diag)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sd_bus *bus = NULL;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return cannot_connect(path, ENAMETOOLONG, diag);
	strcpy(address.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return cannot_connect(path, errno, diag);
	if ((r = sd_bus_new(&bus)) < 0 || (r = sd_bus_set_fd(bus, fd, fd)) < 0) {
		sd_bus_unref(bus);
		return cannot_connect(path, -r, diag);
	}
	TAKE_FD(fd);
	if ((r = sd_bus_negotiate_fds(bus, 1)) < 0 || (r = sd_bus_start(bus)) < 0) {
		sd_bus_unref(bus);
		return cannot_connect(path, -r, diag);
	}
	*ret = bus;
	return 0;
}

/* json_loadfd() asks the kernel for each byte. */
static json_t *load_file(int fd)
{
	_cleanup_fclose_ FILE *in = fdopen(dup(fd), "r");

	return in ? json_loadf(in, 0, NULL) : NULL;
}

/* One of: "s" JSON; "is" a status and JSON; "ish" and a file of text; "h" a file of JSON or a stream. */
static int read_answer(sd_bus_message *message, struct merlon_call *ret)
{
	const char *signature = sd_bus_message_get_signature(message, 1), *text;
	int fd, r;

	if (!strcmp(signature, "h")) {
		r = sd_bus_message_read(message, "h", &fd);
		if (r >= 0 && lseek(fd, 0, SEEK_SET) == 0)
			ret->answer = load_file(fd);
		else if (r >= 0)
			return (ret->file = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0 ? -errno : 0;
	} else if (!strcmp(signature, "ish")) {
		r = sd_bus_message_read(message, "ish", &ret->status, &text, &fd);
		if (r >= 0)
			ret->answer = json_loads(text, 0, NULL);
		/* the message owns its own */
		if (r >= 0)
			ret->file = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	} else if (!strcmp(signature, "is")) {
		r = sd_bus_message_read(message, "is", &ret->status, &text);
		if (r >= 0)
			ret->answer = json_loads(text, 0, NULL);
	} else {
		r = sd_bus_message_read(message, "s", &text);
		if (r >= 0)
			ret->answer = json_loads(text, 0, NULL);
	}
	return ret->answer ? 0 : -EBADMSG;
}

/* The daemon's errors have their cure on a second line. */
static void explain(const struct merlon_options *options, const char *method, const sd_bus_error *error, int r, struct merlon_diag *diag)
{
	char daemon[MERLON_UNIT_ROOM] = "merlond.service";
	const char *text = error->message ? error->message : strerror(-r), *cure = strstr(text, "\n  ");

	if (r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "merlond closed the connection before it answered");
		merlon_unit_of(options->socket, "merlond", daemon);
		merlon_diag_cure(diag, "it could not start, ended, or had too many connections: `journalctl -u %s%s%s` says which%s",
				 quote(daemon), daemon, quote(daemon),
				 strcmp(method, "Status") ? ", `merlon status` what is in force now" : "");
		return;
	}
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%.*s", (int)(cure ? cure - text : (long)strlen(text)), text);
	if (cure)
		merlon_diag_cure(diag, "%s", cure + 3);
	else if (sd_bus_error_has_name(error, MERLON_BUS_DENIED))
		merlon_diag_cure(diag, "run this as root");
}

struct patience {
	pthread_t thread;
	sem_t answered;
	unsigned seconds;
	bool waits;
};

static void *lose_patience(void *context)
{
	struct patience *p = context;
	struct timespec until;
	int r;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += p->seconds;
	while ((r = sem_timedwait(&p->answered, &until)) < 0 && errno == EINTR)
		;
	if (r < 0)
		fprintf(stderr, "merlond has not answered for %u s: it is busy, as with a large ruleset, or hangs\n"
			"  `merlon stop --force` needs no daemon: LOCKED OUT in merlon(8)\n", p->seconds);
	return NULL;
}

/* A thread: sd_bus_call() itself says no word until it ends. */
static void patience_begin(struct patience *p, const char *method)
{
	sigset_t all, before;

	sem_init(&p->answered, 0, 0);
	p->seconds = strcmp(method, "Apply") ? PATIENCE_S : PATIENCE_APPLY_S;
	/* signals are for whoever waits for the answer */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	p->waits = pthread_create(&p->thread, NULL, lose_patience, p) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void patience_end(struct patience *p)
{
	sem_post(&p->answered);
	if (p->waits)
		pthread_join(p->thread, NULL);
	sem_destroy(&p->answered);
}

static int call(sd_bus *bus, const struct merlon_options *options, const char *method, const char *argument, struct merlon_call *ret, struct merlon_diag *diag)
{
	sd_bus_message *message = NULL, *reply = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	struct patience patience;
	int r;

	r = sd_bus_message_new_method_call(bus, &message, NULL, MERLON_BUS_PATH, MERLON_BUS_INTERFACE, method);
	if (r >= 0 && argument)
		r = sd_bus_message_append(message, "s", argument);
	if (r >= 0) {
		patience_begin(&patience, method);
		r = sd_bus_call(bus, message, TIMEOUT_US, &error, &reply);
		patience_end(&patience);
	}
	if (r >= 0)
		r = read_answer(reply, ret);
	if (r < 0)
		explain(options, method, &error, r, diag);
	sd_bus_error_free(&error);
	sd_bus_message_unref(message);
	sd_bus_message_unref(reply);
	return r < 0 ? r : 0;
}

int merlon_call(const struct merlon_options *options, const char *method, const char *argument, struct merlon_call *ret)
{
	struct merlon_diag diag = { 0 };
	sd_bus *bus = NULL;
	int r = connect_to(options->socket, &bus, &diag);

	*ret = (struct merlon_call){ .file = -1 };
	if (r == 0)
		r = call(bus, options, method, argument, ret, &diag);
	sd_bus_flush_close_unref(bus);
	return r < 0 ? merlon_fail(options, &diag) : 0;
}

int merlon_show(const struct merlon_options *options, const char *method, const char *argument,
		void (*print)(const json_t *answer))
{
	struct merlon_call call;
	int r = merlon_call(options, method, argument, &call);

	if (r)
		return r;
	if (options->json)
		merlon_print_json(call.answer);
	else
		print(call.answer);
	json_decref(call.answer);
	return MERLON_EXIT_DONE;
}

int merlon_change(const struct merlon_options *options, const char *method, const char *done, const char *failed)
{
	struct merlon_call call;
	int r = merlon_call(options, method, NULL, &call);

	if (r)
		return r;
	merlon_print_messages(call.answer, stderr);
	if (options->json)
		merlon_print_json(call.answer);
	else if (call.status == MERLON_EXIT_DONE)
		puts(done);
	else if (failed)
		fprintf(stderr, "%s\n", failed);
	json_decref(call.answer);
	return call.status;
}

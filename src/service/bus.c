/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket: one sd-bus connection per client, no bus in between. */
#include "src/service/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "src/model/event.h"
#include "src/model/report.h"
#include "src/service/clients.h"
#include "src/service/daemon.h"
#include "src/service/reading.h"
#include "src/service/work.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define MOST_REQUESTS 64	/* that wait for their turn */
#define MOST_UNREAD 16		/* answers that wait for a client to read those before */

static int reply_json(sd_bus_message *message, json_t *json)
{
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	return text ? sd_bus_reply_method_return(message, "s", text) : -ENOMEM;
}

static int reply_report(sd_bus_message *message, int status, json_t *report)
{
	_cleanup_free_ char *text = report ? json_dumps(report, JSON_COMPACT) : NULL;

	json_decref(report);
	return text ? sd_bus_reply_method_return(message, "is", status, text) : -ENOMEM;
}

static int denied(sd_bus_error *error)
{
	return sd_bus_error_set(error, MERLON_BUS_DENIED, "only root may change what is enforced");
}

/* What a client asks for that is not done at once. */
struct request {
	union {				/* first: it is what others know */
		struct merlon_job job;
		struct merlon_reading reading;
	};
	sd_bus_message *message;
	json_t *asked;			/* owned; NULL: the method takes none */
	bool trusted;
	int status;
	json_t *report;			/* owned, of what was run; NULL: it was not */
	char *output;			/* owned; of nft */
};

static void request_free(struct merlon_daemon *d, struct request *request)
{
	struct merlon_client *client = merlon_client_of(d, sd_bus_message_get_bus(request->message));

	if (client)
		client->waits--;
	d->n_requests--;
	sd_bus_message_unref(request->message);
	json_decref(request->asked);
	json_decref(request->report);
	free(request->output);
	free(request);
}

static void answer_report(struct merlon_daemon *d, struct merlon_job *job)
{
	struct request *request = (struct request *)job;
	int r = reply_report(request->message, request->status, json_incref(request->report));

	if (r < 0)
		sd_bus_reply_method_errno(request->message, request->report ? r : -ECANCELED, NULL);
	request_free(d, request);
}

/* Owns `asked`. NULL with an error: there are too many. */
static struct request *request_new(struct merlon_client *client, sd_bus_message *message, json_t *asked, sd_bus_error *error)
{
	/* who may only read does not keep others from changing */
	unsigned most = client->trusted ? MOST_REQUESTS : MOST_REQUESTS / 2;
	struct request *request = client->d->n_requests < most ? malloc(sizeof(*request)) : NULL;

	if (!request) {
		json_decref(asked);
		sd_bus_error_set(error, MERLON_BUS_FAILED, "too many requests wait for their turn");
		return NULL;
	}
	*request = (struct request){ .message = sd_bus_message_ref(message), .asked = asked, .trusted = client->trusted,
				     .status = MERLON_EXIT_FAILED };
	client->d->n_requests++;
	client->waits++;
	return request;
}

/* Its answer comes when its turn has been. */
static int begin(struct merlon_client *client, sd_bus_message *message, json_t *asked,
		 void (*run)(struct merlon_daemon *d, struct merlon_job *job),
		 void (*answer)(struct merlon_daemon *d, struct merlon_job *job), sd_bus_error *error)
{
	struct request *request = request_new(client, message, asked, error);

	if (!request)
		return -EBUSY;
	request->job = (struct merlon_job){ .run = run, .done = answer, .yields = !client->trusted };
	merlon_work_add(client->d, &request->job);
	return 1;
}

static void answer_cannot(const struct request *request, int error)
{
	const char *why = error == -ESTALE ? "it changes all the time" : error == -ETIMEDOUT ? "it takes too long" :
			  error == -ECHILD ? "the child that did was killed" : error == -ECANCELED ? "merlond ends" : strerror(-error);

	sd_bus_reply_method_errorf(request->message, MERLON_BUS_FAILED, "what is in force cannot be read: %s", why);
}

/* A file and not a string of the message: listings can be larger than a message may be. */
static void answer_file(struct merlon_daemon *d, struct merlon_reading *reading)
{
	struct request *request = (struct request *)reading;
	_cleanup_close_ int fd = reading->fd;
	int r = fd < 0 ? fd : request->trusted ? 0 : merlon_listings_keep(d, fd);

	if (r < 0)
		answer_cannot(request, r);
	else
		sd_bus_reply_method_return(request->message, "h", fd);
	request_free(d, request);
}

/* Right into the message: to copy megabytes, or to have them looked through, keeps the loop. How many, or an error. */
static ssize_t read_into(sd_bus_message *message, int fd)
{
	struct stat st;
	ssize_t n;
	char *at;
	int r = fstat(fd, &st) < 0 ? -errno : sd_bus_message_append_string_space(message, st.st_size, &at);

	for (off_t done = 0; r >= 0 && done < st.st_size; done += n) {
		n = pread(fd, at + done, st.st_size - done, done);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return r < 0 ? r : st.st_size;
}

static void answer_text(struct merlon_daemon *d, struct merlon_reading *reading)
{
	struct request *request = (struct request *)reading;
	struct merlon_client *client = merlon_client_of(d, sd_bus_message_get_bus(request->message));
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	_cleanup_close_ int fd = reading->fd;
	int r = fd < 0 ? fd : sd_bus_message_new_method_return(request->message, &reply);
	ssize_t bytes = r < 0 ? r : read_into(reply, fd);

	r = bytes < 0 ? (int)bytes : sd_bus_send(NULL, reply, NULL);
	if (r < 0)
		answer_cannot(request, r);
	else if (client)
		merlon_client_sent(client, bytes);
	request_free(d, request);
}

/* The same with what takes long and changes nothing. `is_text`: the answer is a string, not a file. */
static int begin_reading(struct merlon_client *client, sd_bus_message *message, int (*run)(struct merlon_daemon *d, FILE *out),
			 bool is_text, sd_bus_error *error)
{
	struct request *request = request_new(client, message, NULL, error);

	if (!request)
		return -EBUSY;
	request->reading = (struct merlon_reading){ .run = run, .done = is_text ? answer_text : answer_file,
						    .trusted = client->trusted };
	merlon_reading_add(client->d, &request->reading);
	return 1;
}

/* A JSON object; NULL with an error. A new reference. */
static json_t *read_request(sd_bus_message *message, sd_bus_error *error)
{
	const char *text;
	json_t *request;

	if (sd_bus_message_read(message, "s", &text) < 0)
		text = "";
	request = json_loads(text, 0, NULL);
	if (json_is_object(request))
		return request;
	json_decref(request);
	sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "the request is no JSON object");
	return NULL;
}

static void run_apply(struct merlon_daemon *d, struct merlon_job *job)
{
	struct request *request = (struct request *)job;

	request->status = merlon_policy_apply(d, request->asked, &request->report);
}

static int on_apply(sd_bus_message *message, void *context, sd_bus_error *error)
{
	struct merlon_client *client = context;
	json_t *asked;

	if (!client->trusted)
		return denied(error);
	asked = read_request(message, error);
	return asked ? begin(client, message, asked, run_apply, answer_report, error) : -EINVAL;
}

static int on_status(sd_bus_message *message, void *context, sd_bus_error *error)
{
	(void)error;
	return reply_json(message, merlon_status(((struct merlon_client *)context)->d));
}

static int on_config(sd_bus_message *message, void *context, sd_bus_error *error)
{
	(void)error;
	return reply_json(message, merlon_config(((struct merlon_client *)context)->d));
}

static int on_stats(sd_bus_message *message, void *context, sd_bus_error *error)
{
	return begin_reading(context, message, merlon_write_stats, true, error);
}

/* An error with the first message, which it clears. */
static int fail(sd_bus_error *error, struct merlon_diag *diag)
{
	const struct merlon_message *m = diag->n ? &diag->message[0] : NULL;
	int r = sd_bus_error_setf(error, MERLON_BUS_FAILED, "%s%s%s", m ? m->text : "out of memory", m && m->cure ? "\n  " : "",
				  m && m->cure ? m->cure : "");

	merlon_diag_clear(diag);
	return r;
}

static int on_perf(sd_bus_message *message, void *context, sd_bus_error *error)
{
	struct merlon_diag diag = { 0 };
	const char *interface;
	json_t *counts;
	int r = sd_bus_message_read(message, "s", &interface);

	if (r < 0)
		return r;
	counts = merlon_perf(((struct merlon_client *)context)->d, *interface ? interface : NULL, &diag);
	return counts ? reply_json(message, counts) : fail(error, &diag);
}

static int on_sessions(sd_bus_message *message, void *context, sd_bus_error *error)
{
	return begin_reading(context, message, merlon_write_sessions, false, error);
}

static int add_monitor(sd_bus_message *message, const struct merlon_client *client, bool packets, sd_bus_error *error)
{
	_cleanup_close_ int fd = merlon_monitors_add(client->d, client->trusted, packets);

	if (fd == -EUSERS)
		return sd_bus_error_set(error, MERLON_BUS_FAILED, "there are as many monitors as there may be\n  end one of them");
	if (fd < 0)
		return sd_bus_error_setf(error, MERLON_BUS_FAILED, "cannot monitor: %s", strerror(-fd));
	return sd_bus_reply_method_return(message, "h", fd);
}

static int on_monitor(sd_bus_message *message, void *context, sd_bus_error *error)
{
	return add_monitor(message, context, false, error);
}

/* What is in packets is more than who talks to whom. */
static int on_capture(sd_bus_message *message, void *context, sd_bus_error *error)
{
	struct merlon_client *client = context;

	if (!client->trusted)
		return sd_bus_error_set(error, MERLON_BUS_DENIED, "only root may see what is in packets");
	return add_monitor(message, client, true, error);
}

static int on_why(sd_bus_message *message, void *context, sd_bus_error *error)
{
	struct merlon_diag diag = { 0 };
	json_t *words, *answer;
	const char *text;
	int r = sd_bus_message_read(message, "s", &text);

	if (r < 0)
		return r;
	words = json_loads(text, 0, NULL);
	answer = merlon_why(((struct merlon_client *)context)->d, words, &diag);
	json_decref(words);
	if (!answer)
		return fail(error, &diag);
	merlon_diag_clear(&diag);
	return reply_json(message, answer);
}

static int to_file(const char *text)
{
	_cleanup_close_ int fd = memfd_create("merlon-answer", MFD_CLOEXEC);
	size_t left = text ? strlen(text) : 0;

	if (fd < 0)
		return -errno;
	while (left) {
		ssize_t n = write(fd, text, left);

		if (n < 0)
			return -errno;
		text += n;
		left -= n;
	}
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : TAKE_FD(fd);
}

static void run_nft(struct merlon_daemon *d, struct merlon_job *job)
{
	struct request *request = (struct request *)job;

	request->status = merlon_policy_nft(d, request->asked, request->trusted, &request->report, &request->output);
}

static void answer_nft(struct merlon_daemon *d, struct merlon_job *job)
{
	struct request *request = (struct request *)job;
	_cleanup_free_ char *text = request->report ? json_dumps(request->report, JSON_COMPACT) : NULL;
	_cleanup_close_ int fd = to_file(request->output);
	int r = fd < 0 ? fd : request->trusted ? 0 : merlon_listings_keep(d, fd);

	if (text && r >= 0)
		sd_bus_reply_method_return(request->message, "ish", request->status, text, fd);
	else
		sd_bus_reply_method_errno(request->message, !request->report ? -ECANCELED : r < 0 ? r : -ENOMEM, NULL);
	request_free(d, request);
}

static int on_nft(sd_bus_message *message, void *context, sd_bus_error *error)
{
	json_t *asked = read_request(message, error);

	return asked ? begin(context, message, asked, run_nft, answer_nft, error) : -EINVAL;
}

static int on_list(sd_bus_message *message, void *context, sd_bus_error *error)
{
	return begin_reading(context, message, merlon_write_list, false, error);
}

static void run_flush(struct merlon_daemon *d, struct merlon_job *job)
{
	struct request *request = (struct request *)job;

	request->status = merlon_policy_flush(d, &request->report);
}

static int on_flush(sd_bus_message *message, void *context, sd_bus_error *error)
{
	struct merlon_client *client = context;

	return client->trusted ? begin(client, message, NULL, run_flush, answer_report, error) : denied(error);
}

static void run_reload(struct merlon_daemon *d, struct merlon_job *job)
{
	struct request *request = (struct request *)job;

	request->status = merlon_daemon_reload(d, &request->report);
}

static int on_reload(sd_bus_message *message, void *context, sd_bus_error *error)
{
	struct merlon_client *client = context;

	return client->trusted ? begin(client, message, NULL, run_reload, answer_report, error) : denied(error);
}

static void run_stop(struct merlon_daemon *d, struct merlon_job *job)
{
	struct request *request = (struct request *)job;
	struct merlon_diag diag = { 0 };

	merlon_work_end(d);
	/* each link that goes waits for RCU, and nothing is in force from the first one on */
	merlon_work_let_go(d);
	request->status = merlon_dataplane_remove(d->dp, &diag) < 0 ? MERLON_EXIT_FAILED : MERLON_EXIT_DONE;
	merlon_work_take_back(d);
	merlon_state_keep_only(d, 0);
	merlon_journal_diag(&diag);
	merlon_journal_tell(d, MERLON_MESSAGE_STOPPED, LOG_NOTICE, "stopped: nothing is filtered any more");
	request->report = json_pack("{s:o}", "messages", merlon_report_messages(&diag));
	merlon_diag_clear(&diag);
}

static void answer_stop(struct merlon_daemon *d, struct merlon_job *job)
{
	struct request *request = (struct request *)job;
	sd_bus *bus = sd_bus_ref(sd_bus_message_get_bus(request->message));

	answer_report(d, job);
	merlon_readings_end(d);
	sd_bus_flush(bus);
	sd_bus_unref(bus);
	sd_event_exit(d->event, 0);
}

static int on_stop(sd_bus_message *message, void *context, sd_bus_error *error)
{
	struct merlon_client *client = context;

	return client->trusted ? begin(client, message, NULL, run_stop, answer_stop, error) : denied(error);
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_ARGS("Apply", SD_BUS_ARGS("s", request), SD_BUS_RESULT("i", code, "s", report), on_apply,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Status", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", status), on_status, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Config", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", settings), on_config, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Stats", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", stats), on_stats, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Perf", SD_BUS_ARGS("s", interface), SD_BUS_RESULT("s", counts), on_perf, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Sessions", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", list), on_sessions,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Monitor", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", stream), on_monitor,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Capture", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", stream), on_capture,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Why", SD_BUS_ARGS("s", words), SD_BUS_RESULT("s", answer), on_why, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Nft", SD_BUS_ARGS("s", request), SD_BUS_RESULT("i", code, "s", report, "h", output), on_nft,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", list), on_list, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Flush", SD_BUS_NO_ARGS, SD_BUS_RESULT("i", code, "s", report), on_flush,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_RESULT("i", code, "s", report), on_reload,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_NO_ARGS, SD_BUS_RESULT("i", code, "s", report), on_stop,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END
};

/* There is no bus, but busctl says hello to one before anything else; any name will do. */
static int on_hello(sd_bus_message *message, void *context, sd_bus_error *error)
{
	(void)context;
	(void)error;
	return sd_bus_reply_method_return(message, "s", ":1.0");
}

static const sd_bus_vtable hello[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_ARGS("Hello", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", name), on_hello, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END
};

/* Every message comes by here first. */
static int on_message(sd_bus_message *message, void *context, sd_bus_error *error)
{
	struct merlon_client *client = context;
	uint64_t unread = 0;

	(void)message;
	(void)error;
	sd_bus_get_n_queued_write(client->bus, &unread);
	if (unread > MOST_UNREAD) {
		merlon_client_free(client);
		return 1;
	}
	merlon_client_heard(client);
	return 0;
}

static int on_disconnected(sd_bus_message *message, void *context, sd_bus_error *error)
{
	(void)message;
	(void)error;
	merlon_client_free(context);
	return 0;
}

static int serve(struct merlon_client *client, int fd)
{
	sd_id128_t id;
	int r;

	if ((r = sd_bus_new(&client->bus)) < 0)
		return r;
	if ((r = sd_bus_set_fd(client->bus, fd, fd)) < 0) {
		close(fd);
		return r;
	}
	if ((r = sd_id128_randomize(&id)) < 0 || (r = sd_bus_set_server(client->bus, 1, id)) < 0 ||
	    (r = sd_bus_set_anonymous(client->bus, 1)) < 0 || (r = sd_bus_negotiate_fds(client->bus, 1)) < 0 ||
	    (r = sd_bus_add_filter(client->bus, NULL, on_message, client)) < 0 ||
	    (r = sd_bus_add_object_vtable(client->bus, NULL, MERLON_BUS_PATH, MERLON_BUS_INTERFACE, vtable, client)) < 0 ||
	    (r = sd_bus_add_object_vtable(client->bus, NULL, "/org/freedesktop/DBus", "org.freedesktop.DBus", hello, client)) < 0 ||
	    (r = sd_bus_match_signal(client->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
				     "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, client)) < 0 ||
	    (r = sd_bus_start(client->bus)) < 0)
		return r;
	/* who may only read is served when there is nothing else to do: what it asks for may take long to write */
	return sd_bus_attach_event(client->bus, client->d->event, SD_EVENT_PRIORITY_NORMAL + !client->trusted);
}

static int on_connection(sd_event_source *source, int listener, uint32_t events, void *context)
{
	struct merlon_daemon *d = context;
	struct merlon_client *client;
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t size = sizeof(peer);
	bool trusted;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)source;
	(void)events;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			merlon_clients_make_room(d);	/* or it would be asked again at once */
		return 0;
	}
	trusted = !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.uid == 0;
	client = merlon_client_new(d, trusted, peer.uid);
	if (!client) {
		close(fd);
		return 0;
	}
	if (serve(client, fd) < 0)
		merlon_client_free(client);
	return 0;
}

int merlon_bus_open(struct merlon_daemon *d, struct merlon_diag *diag)
{
	int r;

	if ((r = merlon_readings_open(d)) < 0 || (r = merlon_listen(d, diag)) < 0)
		return r;
	return sd_event_add_io(d->event, NULL, d->listener, EPOLLIN, on_connection, d);
}

void merlon_bus_close(struct merlon_daemon *d)
{
	merlon_readings_close(d);
	while (d->clients) {
		sd_bus_flush(d->clients->bus);
		merlon_client_free(d->clients);
	}
	merlon_listings_close(d);
	merlon_listen_end(d);
}

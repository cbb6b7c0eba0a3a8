/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compat/compat.h"
#include "src/cli/cli.h"
#include "src/model/report.h"
#include "src/util/cleanup.h"

/*
 * Capabilities: all of them, or, with `effective`, so that they can be taken again. 1; 0: there are none, as in units, which may
 * not even ask for that; or a negative errno.
 */
static int put_aside(bool effective, struct __user_cap_data_struct ret_before[_LINUX_CAPABILITY_U32S_3])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3] = { 0 };
	uint32_t any = 0;
	size_t i;

	if (syscall(SYS_capget, &header, ret_before) < 0)
		return -errno;
	for (i = 0; i < ARRAY_SIZE(now); i++) {
		any |= effective ? ret_before[i].effective : ret_before[i].permitted;
		now[i] = effective ? ret_before[i] : now[i];
		now[i].effective = 0;
	}
	return any && syscall(SYS_capset, &header, now) < 0 ? -errno : any != 0;
}

/*
 * The files of a process are closed to one that has fewer capabilities (ptrace(2), access mode checking), and merlond.service
 * has few. Nothing that is left to do then needs any.
 */
int merlon_daemon_may_read(void)
{
	struct __user_cap_data_struct before[_LINUX_CAPABILITY_U32S_3];
	int r = put_aside(false, before);

	return r < 0 ? r : 0;
}

/* As merlond.service opens it: as root, which may override no permissions. */
static int open_unprivileged(const char *file)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct before[_LINUX_CAPABILITY_U32S_3];
	int aside = put_aside(true, before), fd;

	if (aside < 0)
		return aside;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	return aside && syscall(SYS_capset, &header, before) < 0 ? -errno : fd;
}

/* Gives a file in memory a name for the daemon; it lives as long as this process. */
static void name_for_daemon(int fd, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "/proc/%d/fd/%d", (int)getpid(), fd);
}

/* A file in memory of what the daemon could not read, or not twice. */
static int spool(int in, char path[PATH_MAX])
{
	int fd = memfd_create("merlon-input", 0);
	char buffer[65536];
	size_t all = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(in, buffer, sizeof(buffer))) > 0) {
		if (write(fd, buffer, n) != n)
			return -EIO;
		/* one byte more than the reader takes, for it to say so */
		if ((all += n) > MERLON_TEXT_LARGEST)
			break;
	}
	if (n < 0)
		return -errno;
	name_for_daemon(fd, path);
	return 0;
}

int merlon_daemon_path(const char *file, char path[PATH_MAX], char name[PATH_MAX], bool *ret_spooled)
{
	_cleanup_close_ int in = -1;
	struct stat st, there;

	*ret_spooled = true;
	if (snprintf(name, PATH_MAX, "%s", file) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (!strcmp(file, "-"))
		return spool(STDIN_FILENO, path);
	if (stat(file, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	/* a file that is open and has been removed has a path that leads nowhere */
	if (S_ISREG(st.st_mode) && realpath(file, path) && stat(path, &there) == 0 && there.st_dev == st.st_dev &&
	    there.st_ino == st.st_ino) {
		strcpy(name, path);
		in = open_unprivileged(path);
		*ret_spooled = in == -EACCES;
		if (in != -EACCES)
			return in < 0 ? in : 0;
	}
	in = open(file, O_RDONLY | O_CLOEXEC);
	return in < 0 ? -errno : spool(in, path);
}

/* As check says it. With --json the report tells, too. */
static void cannot_read(const struct merlon_options *options, const char *file, int error)
{
	struct merlon_diag diag = { 0 };
	json_t *report;

	merlon_cannot_read(file, error, &diag);
	if (options->configured && error != -EACCES)
		merlon_diag_cure(&diag, "write the ruleset there, or name another one with Ruleset= or ClosedRuleset= in merlon.conf");
	merlon_diag_print(&diag, stderr);
	if (options->json) {
		report = json_pack("{s:i, s:i, s:i, s:[], s:o}", "rules", 0, "exact", 0, "kept", 0, "refused", "messages",
				   merlon_report_messages(&diag));
		merlon_print_json(report);
		json_decref(report);
	}
	merlon_diag_clear(&diag);
}

/* Only who gives a pipe by hand knows that somebody writes to it. */
static bool may_wait(const struct merlon_options *options, const char *file)
{
	struct stat st;

	return options->configured && stat(file, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static json_t *request_of(const struct merlon_options *options)
{
	json_t *files;
	char cwd[PATH_MAX];
	int i;

	if (!getcwd(cwd, sizeof(cwd)))
		return cannot_read(options, ".", -errno), NULL;
	files = json_array();

	for (i = 0; i < options->n_files; i++) {
		char path[PATH_MAX], name[PATH_MAX];
		bool spooled;
		int error = may_wait(options, options->file[i]) ? -EMEDIUMTYPE : merlon_daemon_path(options->file[i], path, name, &spooled);

		/* what works by hand is to work at boot, by a unit that has no privileges */
		if (!error && options->configured && spooled)
			error = -EACCES;
		if (error < 0) {
			cannot_read(options, options->file[i], error);
			json_decref(files);
			return NULL;
		}
		json_array_append_new(files, json_pack("{s:s, s:s}", "file", path, "name", name));
	}
	if (merlon_daemon_may_read() < 0) {
		json_decref(files);
		return NULL;
	}
	return json_pack("{s:o, s:s, s:s?, s:b, s:b}", "files", files, "cwd", cwd, "family",
			 options->family == AF_INET ? "ip" : options->family == AF_INET6 ? "ip6" : NULL,
			 "audit", options->audit, "allow_partial", options->allow_partial);
}

void merlon_print_messages(const json_t *report, FILE *out)
{
	struct merlon_diag diag = { 0 };

	merlon_report_read_messages(json_object_get(report, "messages"), &diag);
	merlon_diag_print(&diag, out);
	merlon_diag_clear(&diag);
}

void merlon_print_unchanged(const json_t *report)
{
	long long generation = json_integer_value(json_object_get(report, "generation"));

	if (generation)
		fprintf(stderr, "nothing was changed: generation %lld stays in force\n", generation);
	else
		fputs("nothing was changed: no policy is in force\n", stderr);
}

static void print_outcome(const struct merlon_options *options, const struct merlon_call *call)
{
	long long generation = json_integer_value(json_object_get(call->answer, "generation"));
	long long interfaces = json_integer_value(json_object_get(call->answer, "interfaces"));
	long long adopted = json_integer_value(json_object_get(call->answer, "adopted"));

	if (call->status == MERLON_EXIT_DONE) {
		merlon_report_print(call->answer, stdout);
		printf("generation %lld is in force%s on %lld interface%s\n", generation,
		       options->audit ? " (audit: nothing is dropped)" : "", interfaces, interfaces == 1 ? "" : "s");
		if (adopted)
			printf("%lld connection%s that nf_conntrack knows %s taken over\n", adopted, adopted == 1 ? "" : "s",
			       adopted == 1 ? "is" : "are");
		return;
	}
	if (call->status == MERLON_EXIT_REFUSED)
		merlon_report_print(call->answer, stderr);
	merlon_print_unchanged(call->answer);
}

/* Takes the request, NULL if it could not be made. */
static int apply_request(const struct merlon_options *options, json_t *request)
{
	_cleanup_free_ char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	struct merlon_call call;
	int r;

	json_decref(request);
	if (!text)
		return MERLON_EXIT_FAILED;
	r = merlon_call(options, "Apply", text, &call);
	if (r)
		return r;
	merlon_print_messages(call.answer, stderr);
	if (options->json)
		merlon_print_json(call.answer);
	else
		print_outcome(options, &call);
	json_decref(call.answer);
	return call.status;
}

static int apply(const struct merlon_options *options)
{
	return apply_request(options, request_of(options));
}

bool merlon_is_enforced(const struct merlon_options *options)
{
	struct merlon_call call;
	const char *mode;
	bool enforced;

	if (merlon_call(options, "Status", NULL, &call))
		return true;
	mode = json_string_value(json_object_get(call.answer, "mode"));
	/* a policy that was flushed has a generation, too */
	enforced = strcmp(mode ? mode : "", "idle");
	json_decref(call.answer);
	return enforced;
}

/* What depends on no file: only what goes on already goes on. */
static int apply_built_in(const struct merlon_options *options)
{
	static const char rules[] =
		"table inet closed {\n"
		"\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n"
		"\t\tiif lo accept\n\t\tct state established,related accept\n"
		"\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n\t}\n"
		"\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n"
		"\tchain output {\n\t\ttype filter hook output priority filter; policy drop;\n"
		"\t\toif lo accept\n\t\tct state established,related accept\n"
		"\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n\t}\n}\n";
	int fd = memfd_create("merlon-closed", 0);
	char path[PATH_MAX];

	if (fd < 0 || write(fd, rules, sizeof(rules) - 1) != sizeof(rules) - 1 || merlon_daemon_may_read() < 0)
		return MERLON_EXIT_FAILED;
	name_for_daemon(fd, path);
	return apply_request(options, json_pack("{s:[{s:s, s:s}], s:s, s:b, s:b}", "files", "file", path, "name", MERLON_CLOSED_BUILT_IN,
						"cwd", "/", "audit", 0, "allow_partial", 0));
}

/* The ruleset of the configuration could not be applied, and nothing else is in force. */
static void fail_as_configured(struct merlon_options *options, const json_t *config)
{
	char *closed[] = { (char *)merlon_configured(config, "Policy", "ClosedRuleset") };

	if (strcmp(merlon_configured(config, "Policy", "OnFailure"), "closed")) {
		fputs("warning: nothing is filtered: OnFailure=open\n", stderr);
		return;
	}
	options->file = closed;
	options->audit = false;
	if (apply(options) == MERLON_EXIT_DONE)
		fprintf(stderr, "warning: %s is in force instead: OnFailure=closed\n", closed[0]);
	else if (apply_built_in(options) == MERLON_EXIT_DONE)
		fputs("warning: " MERLON_CLOSED_BUILT_IN " is in force instead: OnFailure=closed\n", stderr);
	else
		fputs("error: nothing is filtered, though OnFailure=closed: what keeps the rulesets from coming into force keeps it, too\n", stderr);
}

/* What merlon.service does: the exit status is that of the ruleset, whatever came in its place. */
static int apply_configured(const struct merlon_options *options)
{
	struct merlon_options copy = *options;
	struct merlon_call call;
	char *file[1];
	int r = merlon_call(options, "Config", NULL, &call);

	if (r)
		return r;
	file[0] = (char *)merlon_configured(call.answer, "Policy", "Ruleset");
	copy.file = file;
	copy.n_files = 1;
	copy.audit |= !strcmp(merlon_configured(call.answer, "Policy", "Mode"), "audit");
	r = apply(&copy);
	if (r && !merlon_is_enforced(options))
		fail_as_configured(&copy, call.answer);
	json_decref(call.answer);
	return r;
}

static int run(const struct merlon_options *options)
{
	return options->configured ? apply_configured(options) : apply(options);
}

const struct merlon_command merlon_apply = {
	.name = "apply",
	.usage = "FILE...|--configured",
	.does = "puts a ruleset in force, in one step",
	.takes = MERLON_TAKES_FILES | MERLON_TAKES_FAMILY | MERLON_TAKES_PARTIAL | MERLON_TAKES_AUDIT | MERLON_TAKES_SOCKET |
		 MERLON_TAKES_CONFIGURED,
	.run = run,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reports of the data plane as journal entries with a field for each part; where there is no journal, a line on standard
 * error. Per rule so many at once and so many a second; what is suppressed is counted and said with the next one.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include "src/model/event.h"
#include "src/service/daemon.h"
#include "src/util/cleanup.h"
#include "src/util/clock.h"

#define RULES 4096	/* buckets, by hash */

struct merlon_journal {
	FILE *events;		/* of --events, NULL: not asked for */
	struct {
		uint64_t empty_ns;
		uint64_t suppressed;
	} rule[RULES];
};

#define SOCKET "/run/systemd/journal/socket"
#define PATIENCE_MS 100
#define AGAIN_NS 1000000000ULL

static bool have_journal(void)
{
	static int known = -1;

	if (known < 0)
		known = access(SOCKET, W_OK) == 0;
	return known;
}

/*
 * Whether journald reads: sd_journal_send() waits until it does. What cannot be told soon is lost, and counted; the loop and
 * the thread may both be here.
 */
static bool journal_takes(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct pollfd to = { .fd = -1, .events = POLLOUT };
	static uint64_t lost, late_ns;
	const struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = SOCKET };
	uint64_t now = merlon_now_ns(), told;
	bool takes;

	pthread_mutex_lock(&lock);
	if (to.fd < 0) {
		to.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(to.fd, (const struct sockaddr *)&name, sizeof(name));
	}
	takes = poll(&to, 1, late_ns && now - late_ns < AGAIN_NS ? 0 : PATIENCE_MS) > 0;
	late_ns = takes ? 0 : late_ns && now - late_ns < AGAIN_NS ? late_ns : merlon_now_ns();
	told = takes ? lost : 0;
	lost = takes ? 0 : lost + 1;
	/* another journald may have taken its place */
	if (!takes || to.revents & (POLLERR | POLLHUP)) {
		merlon_closep(&to.fd);
		to.fd = -1;
	}
	pthread_mutex_unlock(&lock);
	if (told)
		sd_journal_print(LOG_WARNING, "%llu entries are lost: journald did not take them", (unsigned long long)told);
	return takes;
}

/* One line of JSON, as `journalctl -o json` has it. */
static void write_line(FILE *out, const struct merlon_entry *entry)
{
	_cleanup_free_ char *line = malloc(merlon_entry_json_room(entry) + sizeof("{}\n"));
	char *end;

	if (!line)
		return;
	*line = '{';
	end = merlon_entry_json(entry, line + 1);
	memcpy(end, "}\n", 2);
	fwrite(line, 1, end + 2 - line, out);
	fflush(out);
}

/*
 * As a word about the unit that puts the policy in force, from a daemon that may say so (journalctl(1), --unit): the daemon
 * has a unit of its own.
 */
static int name_unit(const struct merlon_settings *settings, struct iovec *ret)
{
	char *text;
	int bytes = settings->instance ? asprintf(&text, "OBJECT_SYSTEMD_UNIT=merlon@%s.service", settings->instance) :
					 asprintf(&text, "OBJECT_SYSTEMD_UNIT=merlon.service");

	if (bytes < 0)
		return 0;
	*ret = (struct iovec){ text, bytes };
	return 1;
}

static void send_fields(const struct merlon_settings *settings, const struct merlon_entry *entry)
{
	struct iovec field[MERLON_ENTRY_FIELDS + 1];
	char *text;
	int n = 0;

	for (unsigned i = 0; i < entry->n; i++) {
		const struct merlon_entry_field *f = &entry->field[i];
		int bytes = asprintf(&text, "%s=%.*s", f->name, (int)f->bytes, f->value);

		if (bytes >= 0)
			field[n++] = (struct iovec){ text, bytes };
	}
	n += name_unit(settings, &field[n]);
	sd_journal_sendv(field, n);
	while (n)
		free(field[--n].iov_base);
}

static void deliver(const struct merlon_settings *settings, const struct merlon_entry *entry)
{
	if (!have_journal())
		fprintf(stderr, "%.*s\n", (int)entry->field[0].bytes, entry->field[0].value);
	else if (journal_takes())
		send_fields(settings, entry);
}

/* Whether this one may be reported, and how many before it were not. */
static bool within_rate(const struct merlon_settings *settings, struct merlon_journal *j, const struct merlon_event *e,
			uint64_t *ret_suppressed)
{
	uint32_t hash = ((e->rule * MERLON_HOOKS + e->hook) * 2 + e->family) * 2 + e->kind;
	unsigned slot = hash * 0x9e3779b1U >> 20;
	uint64_t cost = settings->log_rate ? 1000000000ULL / settings->log_rate : 0, most = cost * settings->log_burst;

	if (!cost)
		return true;
	if (e->time_ns - j->rule[slot].empty_ns > most)
		j->rule[slot].empty_ns = e->time_ns - most;
	if (e->time_ns - j->rule[slot].empty_ns < cost) {
		j->rule[slot].suppressed++;
		return false;
	}
	j->rule[slot].empty_ns += cost;
	*ret_suppressed = j->rule[slot].suppressed;
	j->rule[slot].suppressed = 0;
	return true;
}

void merlon_journal_event(struct merlon_daemon *d, const struct merlon_event *event)
{
	struct merlon_event_report report = { .event = event };
	struct merlon_entry entry;
	bool within = within_rate(&d->settings, d->journal, event, &report.suppressed);

	if (!within && !d->journal->events)
		return;
	report.origin = &merlon_event_origins_find(d, event)->origin;
	report.iif = event->iif ? merlon_links_name(d, event->iif) : NULL;
	report.oif = event->oif ? merlon_links_name(d, event->oif) : NULL;
	report.cgroup = event->cgroup ? merlon_cgroup_path(d, event->cgroup) : NULL;
	merlon_entry_build(&entry, &report);
	if (within)
		deliver(&d->settings, &entry);
	if (d->journal->events)
		write_line(d->journal->events, &entry);
}

/* The caller's; NULL without memory. */
__attribute__((format(printf, 1, 0)))
static char *in_words(const char *format, va_list args)
{
	char *text;

	return vasprintf(&text, format, args) < 0 ? NULL : text;
}

void merlon_journal_tell(const struct merlon_daemon *d, const char *id, int priority, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	struct iovec unit = { 0 };
	va_list args;

	va_start(args, format);
	text = in_words(format, args);
	va_end(args);
	if (!text)
		return;
	if (!have_journal())
		fprintf(stderr, "merlond: %s\n", text);
	else if (journal_takes() && name_unit(&d->settings, &unit))
		sd_journal_send("MESSAGE=%s", text, "MESSAGE_ID=%s", id, "PRIORITY=%i", priority, "MERLON_GENERATION=%u",
				merlon_dataplane_generation(d->dp), "%.*s", (int)unit.iov_len, (char *)unit.iov_base, NULL);
	free(unit.iov_base);
}

void merlon_journal_note(int priority, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;

	va_start(args, format);
	text = in_words(format, args);
	va_end(args);
	if (!text)
		return;
	if (!have_journal())
		fprintf(stderr, "merlond: %s\n", text);
	else if (journal_takes())
		sd_journal_print(priority, "%s", text);
}

void merlon_journal_diag(const struct merlon_diag *diag)
{
	static const int priority[] = { LOG_ERR, LOG_WARNING, LOG_NOTICE };
	size_t i;

	for (i = 0; i < diag->n; i++) {
		const struct merlon_message *m = &diag->message[i];

		char line[16] = "";

		if (m->file && m->line)
			snprintf(line, sizeof(line), ":%u", m->line);
		merlon_journal_note(priority[m->severity], "%s%s%s%s%s%s", m->file ? m->file : "", line, m->file ? ": " : "", m->text,
				    m->cure ? "; " : "", m->cure ? m->cure : "");
	}
}

int merlon_journal_open(struct merlon_daemon *d, struct merlon_diag *diag)
{
	d->journal = calloc(1, sizeof(*d->journal));
	if (!d->journal)
		return -ENOMEM;
	if (!d->settings.events)
		return 0;
	d->journal->events = fopen(d->settings.events, "ae");
	if (d->journal->events)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = d->settings.events }, "%s", strerror(errno));
	merlon_diag_cure(diag, "--events names a file that can be written");
	return -errno;
}

void merlon_journal_close(struct merlon_daemon *d)
{
	if (d->journal && d->journal->events)
		fclose(d->journal->events);
	free(d->journal);
	d->journal = NULL;
}

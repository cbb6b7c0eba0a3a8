/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/service/clients.h"

#include <stdlib.h>
#include <syslog.h>

#include "src/util/clock.h"

#define MOST_CLIENTS 128	/* of root, and as many of all others together */
#define MOST_OF_ONE 32		/* of one of these others */
#define MOST_BYTES (256ULL << 20)	/* of large answers that others than root do not read; but the last one is whole */
#define TELL_NS 60000000000ULL	/* how seldom the journal hears that there are too many clients */

static void take_out(struct merlon_client *client)
{
	struct merlon_client **p = &client->d->clients;

	while (*p && *p != client)
		p = &(*p)->next;
	if (*p)
		*p = client->next;
}

static void put_first(struct merlon_client *client)
{
	client->next = client->d->clients;
	client->d->clients = client;
}

void merlon_client_free(struct merlon_client *client)
{
	take_out(client);
	sd_bus_close_unref(client->bus);
	free(client);
}

void merlon_client_heard(struct merlon_client *client)
{
	take_out(client);
	put_first(client);
}

struct merlon_client *merlon_client_of(const struct merlon_daemon *d, const sd_bus *bus)
{
	struct merlon_client *client = d->clients;

	while (client && client->bus != bus)
		client = client->next;
	return client;
}

/* What others do to the socket is no reason not to let a new one in: who was not heard for longest goes. Who waits stays. */
static struct merlon_client *find_quiet(const struct merlon_daemon *d, bool trusted, const uid_t *uid)
{
	struct merlon_client *client, *quiet = NULL;

	for (client = d->clients; client; client = client->next)
		if (client->trusted == trusted && (!uid || client->uid == *uid) && !client->waits)
			quiet = client;
	return quiet;
}

static void tell_many(struct merlon_daemon *d, uid_t uid)
{
	uint64_t now = merlon_now_ns();

	if (d->many_told_ns && now - d->many_told_ns < TELL_NS)
		return;
	d->many_told_ns = now;
	merlon_journal_note(LOG_WARNING, "too many connections of uid %u: those that were quiet for longest are closed", (unsigned)uid);
}

/* Whether there is room for one more. */
static bool make_room(struct merlon_daemon *d, bool trusted, uid_t uid)
{
	struct merlon_client *client, *quiet;
	unsigned alike = 0, of_one = 0;
	bool full;

	for (client = d->clients; client; client = client->next) {
		alike += client->trusted == trusted;
		of_one += client->uid == uid;
	}
	full = !trusted && of_one >= MOST_OF_ONE;
	if (!full && alike < MOST_CLIENTS)
		return true;
	tell_many(d, uid);
	quiet = find_quiet(d, trusted, full ? &uid : NULL);
	if (!quiet)
		return false;
	merlon_client_free(quiet);
	return true;
}

void merlon_clients_make_room(struct merlon_daemon *d)
{
	struct merlon_client *quiet = find_quiet(d, false, NULL);

	if (!quiet)
		quiet = find_quiet(d, true, NULL);
	if (quiet)
		merlon_client_free(quiet);
}

struct merlon_client *merlon_client_new(struct merlon_daemon *d, bool trusted, uid_t uid)
{
	struct merlon_client *client = make_room(d, trusted, uid) ? calloc(1, sizeof(*client)) : NULL;

	if (!client)
		return NULL;
	*client = (struct merlon_client){ .d = d, .uid = uid, .trusted = trusted };
	put_first(client);
	return client;
}

static size_t unread_bytes(struct merlon_client *client)
{
	uint64_t n = 0;

	sd_bus_get_n_queued_write(client->bus, &n);
	if (!n)
		client->unread_bytes = 0;
	return client->trusted ? 0 : client->unread_bytes;
}

void merlon_client_sent(struct merlon_client *client, size_t bytes)
{
	struct merlon_client *other, *quiet;
	size_t all;

	client->unread_bytes += bytes;
	do {
		all = unread_bytes(client);
		quiet = NULL;
		for (other = client->d->clients; other; other = other->next)
			if (other != client && unread_bytes(other)) {
				all += other->unread_bytes;
				quiet = other;
			}
		if (all <= MOST_BYTES || !quiet)
			return;
		merlon_client_free(quiet);
	} while (true);
}

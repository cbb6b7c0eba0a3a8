/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is connected to the control socket, and how much of that there may be. */
#ifndef MERLON_SERVICE_CLIENTS_H
#define MERLON_SERVICE_CLIENTS_H

#include "src/service/daemon.h"

/* In a list, daemon.clients: who was heard last comes first. */
struct merlon_client {
	struct merlon_daemon *d;
	sd_bus *bus;
	uid_t uid;
	bool trusted;		/* may change things */
	unsigned waits;		/* requests that wait for their turn */
	size_t unread_bytes;	/* of large answers, since all that there were had been read */
	struct merlon_client *next;
};

/* A new one, heard now, that has no connection yet; NULL: there is no room, or no memory. */
struct merlon_client *merlon_client_new(struct merlon_daemon *d, bool trusted, uid_t uid);
void merlon_client_free(struct merlon_client *client);
void merlon_client_heard(struct merlon_client *client);
/* That of a connection; NULL: it is gone. */
struct merlon_client *merlon_client_of(const struct merlon_daemon *d, const sd_bus *bus);
/* Answers are kept until they are read: so much was sent just now. Others who do not read may be closed for it. */
void merlon_client_sent(struct merlon_client *client, size_t bytes);
/* There are no descriptors left. */
void merlon_clients_make_room(struct merlon_daemon *d);

#endif

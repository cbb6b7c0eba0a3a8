/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/util/cleanup.h"

struct condition {
	const struct word *word;
	const char *text;		/* names */
	uint8_t family, bits;		/* addresses */
	uint8_t address[16];
	uint16_t low, high;		/* ports */
	uint8_t proto;
};

struct merlon_filter {
	size_t n;
	struct condition condition[];
};

struct word {
	const char *name;
	int (*read)(struct condition *c, const char *value, struct merlon_diag *diag);
	bool (*match)(const struct condition *c, const struct merlon_event_report *r);
	const char *const *choice;	/* of read_choice(), NULL at its end */
};

static int wrong(const struct condition *c, const char *value, struct merlon_diag *diag, const char *is, const char *cure)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s is %s, not \"%s\"", c->word->name, is, value);
	merlon_diag_cure(diag, "%s", cure);
	return -EINVAL;
}

static int read_choice(struct condition *c, const char *value, struct merlon_diag *diag)
{
	char list[80] = "";

	for (size_t i = 0; c->word->choice[i]; i++) {
		if (!strcmp(c->word->choice[i], value)) {
			c->text = c->word->choice[i];
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? "|" : "", c->word->choice[i]);
	}
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s has no value \"%s\"", c->word->name, value);
	merlon_diag_cure(diag, "write %s %s", c->word->name, list);
	return -EINVAL;
}

static int read_proto(struct condition *c, const char *value, struct merlon_diag *diag)
{
	static const uint8_t known[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_GRE };
	const struct protoent *entry;
	unsigned long v;
	char *end, name[8];

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(value, merlon_protocol_name(known[i], name))) {
			c->proto = known[i];
			return 0;
		}
	v = strtoul(value, &end, 0);
	if (*value >= '0' && *value <= '9' && !*end && v < 256) {
		c->proto = v;
		return 0;
	}
	entry = getprotobyname(value);
	if (!entry || entry->p_proto < 0 || entry->p_proto > 255)
		return wrong(c, value, diag, "a protocol", "write a name or a number: proto tcp, udp, icmp, icmpv6, 47, ...");
	c->proto = entry->p_proto;
	return 0;
}

static int read_address(struct condition *c, const char *value, struct merlon_diag *diag)
{
	static const char what[] = "an address or a prefix";
	static const char cure[] = "write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32; names are not looked up";
	const char *slash = strchr(value, '/');
	char text[INET6_ADDRSTRLEN], *end;
	size_t n = slash ? (size_t)(slash - value) : strlen(value);
	unsigned long bits, most;

	if (n >= sizeof(text))
		return wrong(c, value, diag, what, cure);
	memcpy(text, value, n);
	text[n] = 0;
	c->family = strchr(text, ':') ? MERLON_IPV6 : MERLON_IPV4;
	most = c->family == MERLON_IPV6 ? 128 : 32;
	if (inet_pton(c->family == MERLON_IPV6 ? AF_INET6 : AF_INET, text, c->address) != 1)
		return wrong(c, value, diag, what, cure);
	bits = slash ? strtoul(slash + 1, &end, 10) : most;
	if (slash && (slash[1] < '0' || slash[1] > '9' || *end || bits > most))
		return wrong(c, value, diag, what, most == 32 ? "the length of the prefix is from 0 to 32" :
								 "the length of the prefix is from 0 to 128");
	c->bits = bits;
	return 0;
}

static bool read_port(const char *text, const char **ret_end, uint16_t *ret)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || v > 65535)
		return false;
	*ret_end = end;
	*ret = v;
	return true;
}

static int read_ports(struct condition *c, const char *value, struct merlon_diag *diag)
{
	const char *end;

	if (read_port(value, &end, &c->low)) {
		c->high = c->low;
		if ((!*end || (*end == '-' && read_port(end + 1, &end, &c->high) && !*end)) && c->low <= c->high)
			return 0;
	}
	return wrong(c, value, diag, "a port or a range of ports", "write 443 or 8000-8099, from 0 to 65535");
}

static int read_interface(struct condition *c, const char *value, struct merlon_diag *diag)
{
	if (!*value || strlen(value) >= IFNAMSIZ)
		return wrong(c, value, diag, "the name of an interface", "`ip link` lists them");
	c->text = value;
	return 0;
}

static int read_chain(struct condition *c, const char *value, struct merlon_diag *diag)
{
	if (!*value)
		return wrong(c, value, diag, "the name of a chain", "`merlon list` shows them");
	c->text = value;
	return 0;
}

static bool in_prefix(const struct condition *c, const struct merlon_event *e, const __be32 *address)
{
	const uint8_t *a = (const uint8_t *)address;
	unsigned whole = c->bits / 8, rest = c->bits % 8;

	if (c->family != e->family || memcmp(a, c->address, whole))
		return false;
	return !rest || !((a[whole] ^ c->address[whole]) >> (8 - rest));
}

static bool in_range(const struct condition *c, const struct merlon_event *e, __be16 port)
{
	return merlon_event_has_ports(e) && ntohs(port) >= c->low && ntohs(port) <= c->high;
}

static bool is_interface(const struct condition *c, uint32_t index, const char *name)
{
	return index && name && !strcmp(name, c->text);
}

static bool match_verdict(const struct condition *c, const struct merlon_event_report *r)
{
	return !strcmp(c->text, merlon_event_verdict(r->event));
}

static bool match_hook(const struct condition *c, const struct merlon_event_report *r)
{
	return !strcmp(c->text, merlon_event_hook(r->event));
}

static bool match_state(const struct condition *c, const struct merlon_event_report *r)
{
	return !strcmp(c->text, merlon_event_state(r->event));
}

static bool match_proto(const struct condition *c, const struct merlon_event_report *r)
{
	return c->proto == r->event->l4proto;
}

static bool match_src(const struct condition *c, const struct merlon_event_report *r)
{
	return in_prefix(c, r->event, r->event->saddr);
}

static bool match_dst(const struct condition *c, const struct merlon_event_report *r)
{
	return in_prefix(c, r->event, r->event->daddr);
}

static bool match_host(const struct condition *c, const struct merlon_event_report *r)
{
	return match_src(c, r) || match_dst(c, r);
}

static bool match_sport(const struct condition *c, const struct merlon_event_report *r)
{
	return in_range(c, r->event, r->event->sport);
}

static bool match_dport(const struct condition *c, const struct merlon_event_report *r)
{
	return in_range(c, r->event, r->event->dport);
}

static bool match_port(const struct condition *c, const struct merlon_event_report *r)
{
	return match_sport(c, r) || match_dport(c, r);
}

static bool match_iif(const struct condition *c, const struct merlon_event_report *r)
{
	return is_interface(c, r->event->iif, r->iif);
}

static bool match_oif(const struct condition *c, const struct merlon_event_report *r)
{
	return is_interface(c, r->event->oif, r->oif);
}

static bool match_chain(const struct condition *c, const struct merlon_event_report *r)
{
	return r->origin->chain && !strcmp(c->text, r->origin->chain);
}

static const char *const verdicts[] = { "drop", "reject", "accept", "log", NULL };
static const char *const hooks[] = { "input", "forward", "output", NULL };
static const char *const states[] = { "new", "established", "related", "invalid", "untracked", NULL };
static const struct word words[] = {
	{ "verdict", read_choice, match_verdict, verdicts },
	{ "hook", read_choice, match_hook, hooks },
	{ "proto", read_proto, match_proto, NULL },
	{ "src", read_address, match_src, NULL },
	{ "dst", read_address, match_dst, NULL },
	{ "host", read_address, match_host, NULL },
	{ "sport", read_ports, match_sport, NULL },
	{ "dport", read_ports, match_dport, NULL },
	{ "port", read_ports, match_port, NULL },
	{ "iif", read_interface, match_iif, NULL },
	{ "oif", read_interface, match_oif, NULL },
	{ "state", read_choice, match_state, states },
	{ "chain", read_chain, match_chain, NULL },
};

static const struct word *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(words[i].name, name))
			return &words[i];
	return NULL;
}

static int unknown(const char *name, struct merlon_diag *diag)
{
	char list[160] = "";

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", words[i].name);
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "there is no word \"%s\" to choose events by", name);
	merlon_diag_cure(diag, "the words, each with a value behind it, are: %s", list);
	return -EINVAL;
}

static int read_pair(struct condition *c, const char *name, const char *value, struct merlon_diag *diag)
{
	c->word = find(name);
	if (!c->word)
		return unknown(name, diag);
	if (value)
		return c->word->read(c, value, diag);
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "%s has no value", name);
	merlon_diag_cure(diag, "write %s and what it is to be; several pairs must all hold", name);
	return -EINVAL;
}

int merlon_filter_read(const char *const *word, size_t n, struct merlon_filter **ret, struct merlon_diag *diag)
{
	_cleanup_free_ struct merlon_filter *filter = calloc(1, sizeof(*filter) + (n / 2 + 1) * sizeof(filter->condition[0]));

	if (!filter)
		return -ENOMEM;
	for (size_t i = 0; i < n; i += 2) {
		int r = read_pair(&filter->condition[filter->n++], word[i], i + 1 < n ? word[i + 1] : NULL, diag);

		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(filter);
	return 0;
}

void merlon_filter_free(struct merlon_filter *filter)
{
	free(filter);
}

bool merlon_filter_match(const struct merlon_filter *filter, const struct merlon_event_report *report)
{
	for (size_t i = 0; i < filter->n; i++)
		if (!filter->condition[i].word->match(&filter->condition[i], report))
			return false;
	return true;
}

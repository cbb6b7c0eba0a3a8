/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/model/why.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <netdb.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "src/model/print.h"
#include "src/util/cleanup.h"

#define NO_PLACE ((struct merlon_place){ 0 })
#define USAGE "merlon why PROTO SRC:PORT DST:PORT [iif X] [oif Y] [state S]"

/* What one word and its value are read with. */
struct reading {
	struct merlon_question *q;
	const char *word, *value;
	struct merlon_diag *diag;
};

static int wrong(const struct reading *r, const char *what)
{
	merlon_diag_add(r->diag, MERLON_ERROR, NO_PLACE, "%s is %s, not \"%s\"", r->word, what, r->value);
	return -EINVAL;
}

static int number(const struct reading *r, const char *text, uint32_t least, uint32_t most, uint32_t *ret)
{
	char *end, what[64];
	unsigned long long v;

	errno = 0;
	v = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || v < least || v > most) {
		snprintf(what, sizeof(what), "a number from %u to %u", least, most);
		return wrong(r, what);
	}
	*ret = v;
	return 0;
}

/* The index of a name in a list that ends with NULL. */
static int choose(const struct reading *r, const char *const *name, int *ret)
{
	char what[160] = "one of";
	int i;

	for (i = 0; name[i]; i++) {
		if (!strcmp(name[i], r->value)) {
			*ret = i;
			return 0;
		}
		snprintf(what + strlen(what), sizeof(what) - strlen(what), "%s %s", i ? "," : "", name[i]);
	}
	return wrong(r, what);
}

static bool has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE || proto == IPPROTO_SCTP ||
	       proto == IPPROTO_DCCP;
}

static bool is_icmp(const struct merlon_question *q)
{
	return q->proto == (q->family == MERLON_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static int read_proto(const struct reading *r)
{
	static const struct {
		const char *name;
		uint8_t proto;
	} known[] = {
		{ "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP }, { "icmp", IPPROTO_ICMP }, { "icmpv6", IPPROTO_ICMPV6 },
		{ "ipv6-icmp", IPPROTO_ICMPV6 }, { "sctp", IPPROTO_SCTP }, { "udplite", IPPROTO_UDPLITE },
		{ "dccp", IPPROTO_DCCP }, { "gre", IPPROTO_GRE }, { "esp", IPPROTO_ESP }, { "ah", IPPROTO_AH },
		{ "igmp", IPPROTO_IGMP },
	};
	const struct protoent *entry;
	char *end;
	unsigned long v;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(known[i].name, r->value)) {
			r->q->proto = known[i].proto;
			return 0;
		}
	v = strtoul(r->value, &end, 0);
	if (*r->value && !*end && *r->value != '-' && v < 256) {
		r->q->proto = v;
		return 0;
	}
	entry = getprotobyname(r->value);
	if (!entry || entry->p_proto > 255) {
		wrong(r, "a protocol's name or number (tcp, udp, icmp, icmpv6, 47, ...)");
		merlon_diag_cure(r->diag, USAGE);
		return -EINVAL;
	}
	r->q->proto = entry->p_proto;
	return 0;
}

/* ADDRESS, ADDRESS:PORT, [ADDRESS] or [ADDRESS]:PORT, cut in two; *ret_port NULL: none. */
static bool split_end(char *text, char **ret_address, char **ret_port)
{
	char *close, *colon;

	*ret_port = NULL;
	*ret_address = text;
	if (*text == '[') {
		close = strchr(text, ']');
		if (!close || (close[1] && close[1] != ':'))
			return false;
		*close = 0;
		*ret_address = text + 1;
		*ret_port = close[1] ? close + 2 : NULL;
		return true;
	}
	colon = strchr(text, ':');
	if (!colon || strchr(colon + 1, ':'))
		return true;
	*colon = 0;
	*ret_port = colon + 1;
	return true;
}

static int read_end(const struct reading *r, bool first, uint8_t address[16], uint16_t *ret_port)
{
	struct merlon_question *q = r->q;
	char text[128], word[64], *host, *port;
	enum merlon_family family;
	uint32_t v;

	if (snprintf(text, sizeof(text), "%s", r->value) >= (int)sizeof(text) || !split_end(text, &host, &port))
		return wrong(r, "ADDRESS:PORT");
	family = strchr(host, ':') ? MERLON_IPV6 : MERLON_IPV4;
	if (inet_pton(family == MERLON_IPV4 ? AF_INET : AF_INET6, host, address) != 1) {
		wrong(r, "an address and a port");
		merlon_diag_cure(r->diag, "write 192.0.2.1:80 or [2001:db8::1]:80; names are not looked up");
		return -EINVAL;
	}
	if (!first && family != q->family)
		return wrong(r, "of the same family as the source");
	q->family = family;
	if (!has_ports(q->proto))
		return port ? wrong(r, "an address alone, as the protocol has no ports") : 0;
	if (!port) {
		wrong(r, "an address and a port");
		merlon_diag_cure(r->diag, family == MERLON_IPV4 ? "write %s:PORT" : "write [%s]:PORT", host);
		return -EINVAL;
	}
	snprintf(word, sizeof(word), "the port of %s", r->word);
	if (number(&(struct reading){ q, word, port, r->diag }, port, 0, 65535, &v) < 0)
		return -EINVAL;
	*ret_port = v;
	return 0;
}

static int take_interface(const struct reading *r)
{
	char *to = !strcmp(r->word, "iif") ? r->q->iif : r->q->oif;

	if (!*r->value || strlen(r->value) >= IFNAMSIZ)
		return wrong(r, "the name of an interface");
	strcpy(to, r->value);
	return 0;
}

static int take_state(const struct reading *r)
{
	static const char *const name[] = { "invalid", "established", "related", "new", "untracked", NULL };

	return choose(r, name, &r->q->state);
}

static int take_direction(const struct reading *r)
{
	static const char *const name[] = { "original", "reply", NULL };

	return choose(r, name, &r->q->direction);
}

static int take_hook(const struct reading *r)
{
	static const char *const name[] = { "input", "forward", "output", NULL };

	return choose(r, name, &r->q->hook);
}

static int take_flags(const struct reading *r)
{
	static const char *const name[] = { "fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr" };
	_cleanup_free_ char *text = strdup(r->value);
	char *save = NULL, *end;
	unsigned long v = strtoul(r->value, &end, 0);
	size_t i;

	if (!text)
		return -ENOMEM;
	if (r->q->proto != IPPROTO_TCP) {
		merlon_diag_add(r->diag, MERLON_ERROR, NO_PLACE, "only tcp has flags");
		return -EINVAL;
	}
	if (*r->value && !*end && *r->value != '-' && v < 256) {
		r->q->flags = v;
		return 0;
	}
	r->q->flags = 0;
	for (char *one = strtok_r(text, ",|", &save); one; one = strtok_r(NULL, ",|", &save)) {
		for (i = 0; i < ARRAY_SIZE(name) && strcmp(one, name[i]); i++)
			;
		if (!strcmp(one, "none"))
			continue;
		if (i == ARRAY_SIZE(name) && strcmp(one, "ece"))
			return wrong(r, "a list of fin, syn, rst, psh, ack, urg, ecn, cwr, or none");
		r->q->flags |= 1 << (i == ARRAY_SIZE(name) ? 6 : i);
	}
	return 0;
}

/* A type by its name, as nft's printer knows them. */
static bool icmp_type_by_name(enum merlon_family family, const char *name, int *ret)
{
	enum merlon_notation notation = family == MERLON_IPV4 ? MERLON_AS_ICMP_TYPE : MERLON_AS_ICMPV6_TYPE;

	for (unsigned type = 0; type < 256; type++) {
		struct merlon_interval one = { type, type };
		char text[64] = "";
		FILE *out = fmemopen(text, sizeof(text), "w");
		if (!out)
			return false;
		merlon_print_interval(out, notation, &one);
		fclose(out);
		if (!strcmp(text, name)) {
			*ret = type;
			return true;
		}
	}
	return false;
}

static int take_icmp(const struct reading *r)
{
	uint32_t v;
	int error;

	if (!is_icmp(r->q)) {
		merlon_diag_add(r->diag, MERLON_ERROR, NO_PLACE, "%s is of icmp and icmpv6", r->word);
		return -EINVAL;
	}
	if (!strcmp(r->word, "type") && icmp_type_by_name(r->q->family, r->value, &r->q->icmp_type))
		return 0;
	error = number(r, r->value, 0, strcmp(r->word, "id") ? 255 : 65535, &v);
	if (error < 0)
		return error;
	if (!strcmp(r->word, "type"))
		r->q->icmp_type = v;
	else if (!strcmp(r->word, "code"))
		r->q->icmp_code = v;
	else
		r->q->echo_id = v;
	return 0;
}

static int take_mark(const struct reading *r)
{
	return number(r, r->value, 0, UINT32_MAX, &r->q->mark);
}

static int take_length(const struct reading *r)
{
	uint8_t headers[MERLON_QUESTION_BYTES];

	return number(r, r->value, merlon_question_packet(r->q, headers), 65535, &r->q->length);
}

static int take_ttl(const struct reading *r)
{
	uint32_t v;
	int error = number(r, r->value, 0, 255, &v);

	if (!error)
		*(strcmp(r->word, "tos") ? &r->q->ttl : &r->q->tos) = v;
	return error;
}

static int take_mac(const struct reading *r)
{
	uint8_t *m = r->q->mac;
	int end = 0;

	if (sscanf(r->value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", m, m + 1, m + 2, m + 3, m + 4, m + 5, &end) != 6 ||
	    r->value[end])
		return wrong(r, "an Ethernet address, such as 02:00:00:00:00:01");
	return 0;
}

static const struct {
	const char *word;
	int (*take)(const struct reading *r);
} words[] = {
	{ "iif", take_interface }, { "oif", take_interface }, { "state", take_state }, { "direction", take_direction },
	{ "hook", take_hook }, { "flags", take_flags }, { "type", take_icmp }, { "code", take_icmp }, { "id", take_icmp },
	{ "mark", take_mark }, { "length", take_length }, { "ttl", take_ttl }, { "tos", take_ttl }, { "mac", take_mac },
};

static int read_word(struct reading *r, uint32_t *seen)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words) && strcmp(words[i].word, r->word); i++)
		;
	if (i == ARRAY_SIZE(words)) {
		merlon_diag_add(r->diag, MERLON_ERROR, NO_PLACE, "\"%s\" says nothing about a packet", r->word);
		merlon_diag_cure(r->diag, "there are: iif, oif, state, direction, hook, flags, type, code, id, mark, length, ttl, "
				 "tos, mac; each with a value");
		return -EINVAL;
	}
	if (*seen >> i & 1 || !r->value) {
		merlon_diag_add(r->diag, MERLON_ERROR, NO_PLACE, r->value ? "%s is given twice" : "%s has no value", r->word);
		return -EINVAL;
	}
	*seen |= 1U << i;
	return words[i].take(r);
}

/* Where a packet to such an address is received as. */
static uint32_t pkttype_of(const struct merlon_question *q)
{
	if (q->family == MERLON_IPV6)
		return q->daddr[0] == 0xff ? PACKET_MULTICAST : PACKET_HOST;
	if (q->daddr[0] >> 4 == 0xe)
		return PACKET_MULTICAST;
	return memcmp(q->daddr, "\xff\xff\xff\xff", 4) ? PACKET_HOST : PACKET_BROADCAST;
}

/* What does not go together. */
static int check(const struct merlon_question *q, struct merlon_diag *diag)
{
	const char *what = NULL;

	if (q->proto == IPPROTO_ICMP && q->family == MERLON_IPV6)
		what = "icmp is of IPv4: say icmpv6";
	else if (q->proto == IPPROTO_ICMPV6 && q->family == MERLON_IPV4)
		what = "icmpv6 is of IPv6: say icmp";
	else if (q->family == MERLON_IPV6 && (q->proto == IPPROTO_HOPOPTS || q->proto == IPPROTO_ROUTING ||
					      q->proto == IPPROTO_FRAGMENT || q->proto == IPPROTO_DSTOPTS ||
					      q->proto == IPPROTO_AH || q->proto == IPPROTO_NONE))
		what = "that is an extension header of IPv6 and no protocol: ask about the protocol behind it";
	else if (q->hook == MERLON_INPUT && *q->oif)
		what = "at hook input there is no oif yet";
	else if (q->hook == MERLON_OUTPUT && *q->iif)
		what = "at hook output there is no iif: this host sends the packet";
	else if (q->direction != MERLON_QUESTION_ANY && q->state == MERLON_QUESTION_ANY)
		what = "a direction goes with a state: say state established direction reply";
	if (!what)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, NO_PLACE, "%s", what);
	return -EINVAL;
}

int merlon_question_read(const char *const *word, size_t n, struct merlon_question *ret, struct merlon_diag *diag)
{
	static const char *const part[] = { "the protocol", "the source", "the destination" };
	struct merlon_question q = {
		.icmp_type = MERLON_QUESTION_ANY, .icmp_code = MERLON_QUESTION_ANY, .flags = MERLON_QUESTION_ANY,
		.hook = MERLON_QUESTION_ANY, .state = MERLON_QUESTION_ANY, .direction = MERLON_QUESTION_ANY, .ttl = 64,
	};
	struct reading r = { .q = &q, .diag = diag };
	uint32_t seen = 0;
	int error = 0;

	if (n < ARRAY_SIZE(part)) {
		merlon_diag_add(diag, MERLON_ERROR, NO_PLACE, "%s of the packet is missing", part[n]);
		merlon_diag_cure(diag, USAGE);
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(part) && !error; i++) {
		r.word = part[i];
		r.value = word[i];
		error = i == 0 ? read_proto(&r) : i == 1 ? read_end(&r, true, q.saddr, &q.sport) :
							   read_end(&r, false, q.daddr, &q.dport);
	}
	for (size_t i = ARRAY_SIZE(part); i < n && !error; i += 2) {
		r.word = word[i];
		r.value = i + 1 < n ? word[i + 1] : NULL;
		error = read_word(&r, &seen);
	}
	if (!error)
		error = check(&q, diag);
	if (error < 0)
		return error;
	q.pkttype = pkttype_of(&q);
	*ret = q;
	return 0;
}

static uint16_t header_checksum(const uint8_t *header, size_t bytes)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < bytes; i += 2)
		sum += header[i] << 8 | header[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* The transport header; returns its length. */
static size_t put_transport(const struct merlon_question *q, uint8_t *to)
{
	enum { sctp_bytes = 12, init = 1, init_bytes = 20 };	/* RFC 9260 3.1, 3.3.2 */
	uint16_t ports[2] = { htons(q->sport), htons(q->dport) };

	if (is_icmp(q)) {
		to[0] = q->icmp_type != MERLON_QUESTION_ANY ? q->icmp_type :
			q->family == MERLON_IPV4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
		to[1] = q->icmp_code != MERLON_QUESTION_ANY ? q->icmp_code : 0;
		to[4] = q->echo_id >> 8;
		to[5] = q->echo_id & 0xff;
		return sizeof(struct icmphdr);
	}
	if (!has_ports(q->proto))
		return 0;
	memcpy(to, ports, sizeof(ports));
	if (q->proto == IPPROTO_TCP) {
		to[12] = sizeof(struct tcphdr) / 4 << 4;
		to[13] = q->flags != MERLON_QUESTION_ANY ? q->flags : TH_SYN;
		return sizeof(struct tcphdr);
	}
	if (q->proto == IPPROTO_UDP || q->proto == IPPROTO_UDPLITE)
		to[5] = sizeof(struct udphdr);
	/* without a checksum UDP-Lite is invalid (RFC 3828 3.1), SCTP without a chunk: it opens an association */
	to[7] = q->proto == IPPROTO_UDPLITE;
	if (q->proto != IPPROTO_SCTP)
		return q->proto == IPPROTO_DCCP ? 12 : sizeof(struct udphdr);
	to[sctp_bytes] = init;
	to[sctp_bytes + 3] = init_bytes;
	return sctp_bytes + init_bytes;
}

size_t merlon_question_packet(const struct merlon_question *q, uint8_t ret[MERLON_QUESTION_BYTES])
{
	size_t bytes;

	memset(ret, 0, MERLON_QUESTION_BYTES);
	if (q->family == MERLON_IPV4) {
		struct iphdr ip = { .version = 4, .ihl = 5, .tos = q->tos, .ttl = q->ttl, .protocol = q->proto };

		bytes = sizeof(ip) + put_transport(q, ret + sizeof(ip));
		ip.tot_len = htons(bytes);
		memcpy(&ip.saddr, q->saddr, 4);
		memcpy(&ip.daddr, q->daddr, 4);
		memcpy(ret, &ip, sizeof(ip));
		ip.check = htons(header_checksum(ret, sizeof(ip)));
		memcpy(ret, &ip, sizeof(ip));
	} else {
		struct ip6_hdr ip = { .ip6_hlim = q->ttl, .ip6_nxt = q->proto };

		bytes = put_transport(q, ret + sizeof(ip));
		ip.ip6_flow = htonl(6U << 28 | (uint32_t)q->tos << 20);
		ip.ip6_plen = htons(bytes);
		memcpy(&ip.ip6_src, q->saddr, 16);
		memcpy(&ip.ip6_dst, q->daddr, 16);
		memcpy(ret, &ip, sizeof(ip));
		bytes += sizeof(ip);
	}
	return bytes;
}

/* RFC 792 and RFC 4443: messages that quote the packet that they are about. */
static bool is_error(const struct merlon_question *q)
{
	int type = q->icmp_type;

	if (q->family == MERLON_IPV6)
		return type >= 0 && type < ICMP6_ECHO_REQUEST;
	return type == ICMP_UNREACH || type == ICMP_SOURCEQUENCH || type == ICMP_REDIRECT || type == ICMP_TIMXCEED ||
	       type == ICMP_PARAMPROB;
}

const char *merlon_question_doubt(const struct merlon_question *question)
{
	if (is_icmp(question) && is_error(question) && question->state == MERLON_QUESTION_ANY)
		return "an ICMP error has the state of the packet that it quotes: without one it is invalid; say state related "
		       "for one that is about a known connection";
	return NULL;
}

void merlon_question_assume(struct merlon_question *question, bool known)
{
	int state = question->state;

	if (question->proto != IPPROTO_TCP || question->flags != MERLON_QUESTION_ANY)
		return;
	if (state == MERLON_CT_ESTABLISHED || state == MERLON_CT_INVALID || (state == MERLON_QUESTION_ANY && known))
		question->flags = TH_ACK;
	else
		question->flags = TH_SYN;
}

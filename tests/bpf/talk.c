/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/bpf/talk.h"

struct talk talks[TALKS];

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static unsigned one_of(const uint8_t *list, size_t n)
{
	return list[any(n)];
}
#define ONE_OF(list) one_of(list, sizeof(list))

/* What a connection does next, more or less, and now and then anything. */
static uint8_t some_flags(const struct talk *talk, int from)
{
	static const uint8_t likely[] = { F_SYN, F_SYN | F_ACK, F_ACK, F_ACK, F_ACK | F_PSH, F_FIN | F_ACK, F_FIN | F_ACK,
					  F_RST, F_RST | F_ACK, F_SYN | F_URG };
	static const uint8_t answers[] = { F_SYN | F_ACK, F_SYN | F_ACK, F_RST | F_ACK, F_ACK };
	const struct end *me = &talk->end[from], *peer = &talk->end[!from];

	if (one_in(60))
		return any(64);
	if (one_in(25))
		return any(2) ? F_RST : F_RST | F_ACK;
	/* what a reset ended begins again, or it has not ended */
	if (talk->last_flags & F_RST && any(2))
		return any(3) ? F_SYN : F_ACK;
	if (talk->last_flags == F_SYN && peer->opened && any(3))
		return ONE_OF(answers);
	if (talk->last_flags == F_ACK && talk->flags_before == F_SYN && any(2))
		return any(3) ? F_SYN : F_ACK;
	if (me->closed && peer->closed ? one_in(3) : peer->closed && one_in(4))
		return me->closed ? F_SYN : F_FIN | F_ACK;
	if (one_in(5))
		return ONE_OF(likely);
	if (!me->opened)
		return peer->opened ? F_SYN | F_ACK : F_SYN;
	return peer->opened && one_in(16) ? F_FIN | F_ACK : F_ACK;
}

/* A number at some edge that a tracker could look at. */
static uint32_t near(uint32_t n)
{
	static const uint32_t far[] = { 0, 1, 2, 10, 100, 1000, 8192, 65535, 65536, 66000, 66001, 1U << 20, 1U << 30, 1U << 31 };
	uint32_t distance = far[any(sizeof(far) / sizeof(far[0]))] + any(3) - 1;

	return any(2) ? n + distance : n - distance;
}

static uint32_t some_seq(const struct talk *talk, int from, size_t payload)
{
	const struct end *me = &talk->end[from], *peer = &talk->end[!from];

	switch (any(20)) {
	case 0:
		return near(me->next);
	case 1:
		return near(peer->edge);
	case 2:
		return peer->edge + any(4) - 2;
	case 3:
		return peer->acked;
	case 4:
		return one_in(4) ? any32() : one_in(3) ? 0 : me->next - any(100);
	case 5:
		/* the most that may overshoot */
		return peer->edge + peer->widest + any(4) - 2 - payload;
	case 6:
		/* the oldest data */
		return me->next - peer->widest + any(4) - 2 - payload;
	default:
		return me->next;
	}
}

/* A reset's: what the other end expects, what was sent, none, or anything. */
static uint32_t some_reset(const struct talk *talk, int from)
{
	switch (any(10)) {
	case 0:
	case 1:
		return 0;
	case 2:
		return any32();
	case 3:
	case 4:
		return talk->end[from].next;
	case 5:
		return some_seq(talk, from, 0);
	case 6:
	case 7:
		return talk->end[!from].next;
	default:
		return talk->end[!from].acked;
	}
}

static uint32_t some_ack(const struct talk *talk, int from)
{
	const struct end *me = &talk->end[from], *peer = &talk->end[!from];

	switch (any(20)) {
	case 0:
		return near(peer->next);
	case 1:
		return near(me->acked);
	case 2:
		return one_in(4) ? any32() : one_in(3) ? 0 : peer->next + 1;
	case 3:
		/* the oldest acknowledgment */
		return peer->next - (me->widest > 66000 ? me->widest : 66000) + any(4) - 2;
	case 4:
	case 5:
		return peer->next - any(3000);
	default:
		return peer->next;
	}
}

static uint16_t some_window(const struct end *me)
{
	static const uint16_t windows[] = { 0, 0, 1, 10, 1000, 8192, 60000, 65535 };

	return me->opened && any(4) ? me->window : windows[any(sizeof(windows) / sizeof(windows[0]))];
}

/* What is acknowledged selectively: mostly what was sent. */
static size_t some_blocks(uint8_t *p, const struct end *peer, uint32_t ack)
{
	unsigned blocks = 1 + any(4), nops = blocks < 4 ? 2 : any(2) * 2;
	size_t n = nops;

	memset(p, 1, nops);
	p[n++] = 5;
	p[n++] = 2 + 8 * blocks;
	for (unsigned i = 0; i < blocks; i++, n += 8) {
		put32(p + n, any(8) ? ack + any(500) : near(ack));
		put32(p + n + 4, any(2) ? peer->next - any(3000) : one_in(3) ? near(ack) : peer->next + any(3) - 1);
	}
	memset(p + n, 0, 4);
	return (n + 3) / 4 * 4;
}

/* Those of a SYN are remembered. */
static size_t some_syn_options(uint8_t *p, struct end *me)
{
	static const uint8_t scales[] = { 0, 1, 2, 7, 13, 14, 14, 15, 15, 255 };
	size_t n = 0;

	me->scales = any(4) != 0;
	me->scale = 0;
	if (me->scales) {
		me->scale = ONE_OF(scales);
		memcpy(p, "\1\3\3", 3);
		p[3] = me->scale;
		if (me->scale > 14)
			me->scale = 14;
		n += 4;
	}
	if (any(3)) {
		memcpy(p + n, any(8) ? "\4\2\1\1" : "\4\3\1\1", 4);
		n += 4;
	}
	return n;
}

/* A list of options that makes no sense. */
static void spoil(uint8_t *p, size_t n)
{
	static const uint8_t sizes[] = { 0, 1, 2, 3, 4, 5, 8, 9, 11, 12, 255 };
	size_t at = any(n);

	if (any(2)) {
		p[at] = any(12);
	} else if (any(2)) {
		p[0] = any(7);
		p[1] = ONE_OF(sizes);
	} else {
		/* one of another length than it has */
		for (at = 0; at + 1 < n && p[at] == 1;)
			at++;
		if (at + 1 < n)
			p[at + 1] = p[at + 1] + any(3) - 1;
	}
}

/* Returns their bytes. */
static size_t some_options(uint8_t *p, struct talk *talk, int from, int syn, uint32_t ack)
{
	size_t n = 0;

	if (syn ? !any(4) : any(2)) {
		if (syn)
			talk->end[from].scale = talk->end[from].scales = 0;
		return 0;
	}
	if (syn) {
		n = some_syn_options(p, &talk->end[from]);
	} else if (any(2)) {
		n = some_blocks(p, &talk->end[!from], ack);
	} else if (any(2)) {
		memcpy(p, "\1\1\10\12tttteeee", 12);
		n = 12;
	}
	if (n && one_in(6))
		spoil(p, n);
	return n;
}

/* `f` as the connection knows it from now on, if the tracker lets it through. */
static void remember(struct talk *talk, int from, const struct frame *f, size_t payload)
{
	struct end *me = &talk->end[from], *peer = &talk->end[!from];
	const uint8_t *p = f->data + f->l4, flags = p[13];
	uint32_t end = get32(p + 4) + payload + !!(flags & F_SYN) + !!(flags & F_FIN), bytes;

	talk->flags_before = talk->last_flags;
	talk->last_flags = flags;
	if (flags & F_RST)
		return;
	if ((int32_t)(end - me->next) > 0 && end - me->next < 100000)
		me->next = end;
	if (flags & F_ACK)
		me->acked = get32(p + 8);
	me->window = p[14] << 8 | p[15];
	bytes = (uint32_t)me->window << (me->scales && peer->scales && !(flags & F_SYN) ? me->scale : 0);
	if (flags & F_SYN || bytes > me->widest)
		me->widest = bytes;
	if (flags & F_SYN || (int32_t)(me->acked + bytes - me->edge) > 0)
		me->edge = me->acked + bytes;
	if (flags & F_SYN)
		me->opened = 1;
	me->closed = flags & F_FIN || (me->closed && flags != (F_SYN | F_ACK));
}

static struct frame some_tcp(struct talk *talk, int from, const struct flow *flow)
{
	static const size_t sizes[] = { 0, 0, 0, 1, 10, 100, 1300 };
	uint8_t flags = some_flags(talk, from), options[64];
	size_t payload = flags & (F_SYN | F_RST) && any(20) ? 0 : sizes[any(7)], n;
	uint32_t seq, ack = flags & F_ACK || one_in(20) ? some_ack(talk, from) : 0;
	struct frame f;

	/* an end that starts again, mostly with a higher number */
	if (flags == F_SYN && one_in(3))
		talk->end[from].next = one_in(3) ? any32() : talk->end[from].next + any(100000);
	seq = flags & F_RST ? some_reset(talk, from) : some_seq(talk, from, payload);
	n = some_options(options, talk, from, flags & F_SYN, ack);
	f = frame_tcp(flow, flags, payload + n);
	memcpy(f.data + f.l4 + 20, options, n);
	f.data[f.l4 + 12] = (one_in(50) ? any(16) : 5 + n / 4) << 4;
	put32(f.data + f.l4 + 4, seq);
	put32(f.data + f.l4 + 8, ack);
	put16(f.data + f.l4 + 14, some_window(&talk->end[from]));
	remember(talk, from, &f, payload);
	return f;
}

static struct frame some_udp(const struct flow *flow)
{
	struct frame f = frame_udp(flow, any(30));

	if (one_in(10))
		put16(f.data + f.l4 + 4, any(50));
	return f;
}

static struct frame some_icmp(const struct talk *talk, const struct flow *flow)
{
	static const uint8_t v4[] = { 8, 8, 8, 0, 0, 0, 13, 14, 15, 16, 17, 18, 9, 10, 3, 4, 5, 11, 12, 42 };
	static const uint8_t v6[] = { 128, 128, 128, 129, 129, 129, 139, 140, 127, 130, 131, 132, 136, 137, 138, 141, 143, 144, 151,
				      152, 153, 1, 4, 100 };
	struct flow asked = *flow;

	asked.sport = talk->flow.sport;
	return strchr(flow->saddr, ':') ? frame_icmp(&asked, ONE_OF(v6), !any(10), 8) :
					  frame_icmp(&asked, ONE_OF(v4), !any(10), 8);
}

/* Options of IPv4 that do nothing, or an extension header of IPv6 with such. */
static void insert_options(struct frame *f)
{
	uint8_t header[8] = { f->data[ETH + 6], 0, 1, 4, 0, 0, 0, 0 };

	if (f->v6) {
		f->data[ETH + 6] = 60;
		frame_insert(f, header, sizeof(header));
	} else {
		f->data[ETH]++;
		frame_insert(f, "\1\1\1\1", 4);
	}
}

/* About a packet that went the other way; sometimes about a part of it that is no beginning, or too short. */
static struct frame some_error(const struct talk *talk, int from, const struct flow *flow)
{
	static const uint8_t v4[] = { 3, 4, 5, 11, 12 }, v6[] = { 1, 2, 3, 4 };
	struct frame inner = talk->last[talk->itself ? from : !from];
	uint8_t type = inner.v6 ? ONE_OF(v6) : ONE_OF(v4);
	size_t most = inner.bytes - ETH, header = inner.l4 - ETH;
	size_t quoted = any(4) ? (most < header + 8 ? most : header + 8) : most;

	if (one_in(10) && header + any(10) < quoted)
		quoted = header + any(10) < quoted ? header + any(10) : header;
	if (!inner.v6 && one_in(10))
		put16(inner.data + ETH + 6, any(2) ? 1 : 0x2000);
	return frame_error(flow, type, &inner, quoted < most ? quoted : most);
}

/* Options in place of those that there are, if all fits: `n` bytes, a multiple of 4. */
static void replace_options(struct frame *f, const uint8_t *options, size_t n)
{
	uint8_t *p = f->data + f->l4;
	size_t header = p[12] >> 4 << 2, payload;

	if (header < 20 || f->l4 + header > f->bytes)
		return;
	payload = f->bytes - f->l4 - header;
	memmove(p + 20 + n, p + header, payload);
	memcpy(p + 20, options, n);
	p[12] = (p[12] & 15) | (5 + n / 4) << 4;
	frame_length(f, f->l4 + 20 + n + payload);
}

/* Two lists of blocks, of which the first counts; an option of which only the length is known; SACKs behind the end of the list. */
static void odd_options(const struct talk *talk, int from, struct frame *f)
{
	const struct end *peer = &talk->end[!from];
	uint8_t options[40] = { 5, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 5, 10 };
	static const uint8_t firsts[] = { 5, 0, 1, 30, 2, 3, 4, 8, 34, 254 };

	put32(options + 2, peer->next - any(100));
	put32(options + 6, peer->next - any(100));
	put32(options + 14, peer->next - any(100));
	put32(options + 18, peer->next + any(3) - 1);
	if (any(2))
		options[0] = ONE_OF(firsts);
	if (one_in(4))
		options[1] = any(12);
	replace_options(f, options, 24);
}

static void odd_tcp(const struct talk *talk, int from, struct frame *f)
{
	uint8_t *p = f->data + f->l4;

	switch (any(6)) {
	case 0:
		/* ECE, CWR and the four bits before them (RFC 3168, RFC 9293 3.1) */
		p[13] |= any(4) << 6;
		p[12] |= any(16);
		break;
	case 1:
		/* urgent data, or none to be urgent */
		p[13] |= any(4) ? F_URG : F_URG | F_PSH;
		put16(p + 18, any(0x10000));
		break;
	case 2:
		/* a keep-alive: what was acknowledged, once more */
		put32(p + 4, talk->end[!from].acked - 1 - any(2));
		break;
	case 3:
		/* a probe of a closed window */
		put32(p + 4, talk->end[!from].edge);
		break;
	case 4:
		/* numbers that ACK says nothing of, or none where it says something */
		if (p[13] & F_ACK)
			put32(p + 8, 0);
		else
			put32(p + 8, any32());
		break;
	default:
		odd_options(talk, from, f);
	}
}

/* Record route, timestamp, router alert, an option that is unknown; a hop-by-hop header, two of one kind. */
static void odd_ip(struct frame *f)
{
	static const uint8_t v4[][8] = { { 7, 7, 4, 0, 0, 0, 0, 0 }, { 68, 8, 5, 0, 0, 0, 0, 0 }, { 148, 4, 0, 0, 1, 1, 1, 1 }, { 30, 4, 0, 0, 1, 1, 1, 0 } };
	uint8_t v6[8] = { f->data[ETH + 6], 0, 1, 4, 0, 0, 0, 0 };

	if (!f->v6) {
		if ((f->data[ETH] & 15) > 8)
			return;
		f->data[ETH] += 2;
		frame_insert(f, v4[any(sizeof(v4) / sizeof(v4[0]))], 8);
		return;
	}
	if (v6[0] == 60 && any(2))
		return;
	f->data[ETH + 6] = 60;
	frame_insert(f, v6, sizeof(v6));
}

void talk_make_odd(const struct talk *talk, int from, struct frame *f)
{
	if (talk->proto == 6 && f->data[ETH + (f->v6 ? 6 : 9)] == 6)
		odd_tcp(talk, from, f);
	if (one_in(8))
		odd_ip(f);
}

struct frame talk_packet(struct talk *talk, int from)
{
	/* beside each end, reached from the other one */
	static const char *const strangers[2][2] = { { "198.51.100.10", "192.0.2.201" }, { "2001:db8:1::10", "2001:db8::201" } };
	struct flow flow = from ? reversed(&talk->flow) : talk->flow;
	struct frame f;

	if (talk->has_last[talk->itself ? from : !from] && one_in(12)) {
		if (one_in(8))
			flow.daddr = strangers[!!strchr(flow.daddr, ':')][from];
		return some_error(talk, from, &flow);
	}
	/* once more */
	if (talk->has_last[from] && one_in(10))
		return talk->last[from];
	if (talk->proto == 6)
		f = some_tcp(talk, from, &flow);
	else if (talk->proto == 17)
		f = some_udp(&flow);
	else
		f = some_icmp(talk, &flow);
	if (one_in(12))
		insert_options(&f);
	talk->last[from] = f;
	talk->has_last[from] = 1;
	return f;
}

void talk_reset(int i)
{
	static const char *const ends[2][2] = { { ORACLE_NEAR, ORACLE_FAR }, { ORACLE_NEAR6, ORACLE_FAR6 } };
	static const uint8_t protos[] = { 6, 6, 6, 6, 17, 1 };
	static uint16_t port = 1024;
	struct talk *talk = &talks[i];

	memset(talk, 0, sizeof(*talk));
	talk->flow = (struct flow){ ends[i & 1][0], ends[i & 1][1], ++port, 80 + i };
	talk->proto = ONE_OF(protos);
	talk->itself = one_in(30);
	if (talk->itself) {
		talk->flow.saddr = talk->flow.daddr;
		talk->flow.dport = talk->flow.sport;
	}
	for (int e = 0; e < 2; e++)
		talk->end[e].next = one_in(3) ? -any(3000) : any32() * 2;
	if (one_in(3))
		talk->end[1].next = talk->end[0].next;
}

void talk_tell(struct talk *talk, const struct frame *f, int from, int kernel, int merlon)
{
	size_t n = strlen(talk->story);
	const uint8_t *p = f->data + f->l4;

	if (n > sizeof(talk->story) - 200)
		n = 0;
	snprintf(talk->story + n, sizeof(talk->story) - n, "  %s proto %d bytes %02x%02x flags %02x seq %u ack %u win %u, %zu of %d: %s | %s\n",
		 from ? "<" : ">", f->v6 ? f->data[ETH + 6] : f->data[ETH + 9], p[0], p[1], p[13], get32(p + 4),
		 get32(p + 8), p[14] << 8 | p[15], f->bytes - f->l4, p[12] >> 4 << 2, oracle_meaning[kernel],
		 merlon < 0 ? "several" : oracle_meaning[merlon]);
}

struct frame talk_proper(struct talk *talk, int *from)
{
	static const size_t sizes[] = { 0, 0, 0, 10, 1300 };
	int opened = talk->end[0].opened + talk->end[1].opened;
	uint8_t flags = opened == 0 ? F_SYN : opened == 1 ? F_SYN | F_ACK : one_in(60) ? F_FIN | F_ACK : F_ACK;
	size_t payload = opened == 2 ? sizes[any(5)] : 0;
	uint16_t window = one_in(8) ? 0 : 8192;
	struct flow flow;
	struct frame f;

	if (opened < 2)
		*from = opened;
	if (opened == 2 && talk->has_last[*from] && talk->last[*from].data[talk->last[*from].l4 + 13] == F_ACK && one_in(3))
		return talk->last[*from];
	flow = *from ? reversed(&talk->flow) : talk->flow;
	f = frame_tcp(&flow, flags, payload);
	put32(f.data + f.l4 + 4, talk->end[*from].next);
	put32(f.data + f.l4 + 8, opened ? talk->end[!*from].next : 0);
	put16(f.data + f.l4 + 14, window);
	remember(talk, *from, &f, payload);
	talk->last[*from] = f;
	talk->has_last[*from] = 1;
	return f;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections by script, several at a time, and flows in all variations of what a remembered decision depends on. */
#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "src/util/cleanup.h"
#include "src/verify/flows.h"

#define AGAIN 0xffff	/* with the sequence number of the one before */
#define AHEAD 0xfffe	/* one ahead of its right number */
#define SCRIPT_STEPS 20

struct step {
	uint8_t side, flags;
	uint16_t bytes;
};

struct play {
	const char *note;
	struct step step[SCRIPT_STEPS];	/* ends with flags 0xff */
};

#define A 0
#define B 1
#define S MERLON_SYN
#define F MERLON_FIN
#define R MERLON_RST
#define P MERLON_PSH
#define K MERLON_ACK
#define U MERLON_URG
#define OPEN { A, S, 0 }, { B, S | K, 0 }, { A, K, 0 }
#define TALK { A, P | K, 20 }, { B, K, 0 }, { B, P | K, 300 }, { A, K, 0 }
#define CLOSE { A, F | K, 0 }, { B, K, 0 }, { B, F | K, 0 }, { A, K, 0 }
#define END { 0, 0xff, 0 }

static const struct play tcp_play[] = {
	{ "open, talk, close", { OPEN, TALK, CLOSE, TALK, END } },
	{ "closed by the other end", { OPEN, TALK, { B, F | K, 0 }, { A, F | K, 0 }, { B, K, 0 }, { A, P | K, 20 }, END } },
	{ "reset by the originator", { OPEN, TALK, { A, R | K, 0 }, { A, P | K, 20 }, { B, K, 0 }, END } },
	{ "reset by the other end", { OPEN, { B, R, 0 }, { A, P | K, 20 }, { B, K, 0 }, END } },
	{ "refused", { { A, S, 0 }, { B, R | K, 0 }, { A, K, 0 }, { B, K, 0 }, END } },
	{ "opened again after a reset", { OPEN, { A, R, 0 }, OPEN, TALK, END } },
	{ "closed by both at once, opened again", { OPEN, { A, F | K, 0 }, { B, F | K, 0 }, { A, K, 0 }, OPEN, TALK, END } },
	{ "opened again after closing", { OPEN, CLOSE, OPEN, TALK, END } },
	{ "picked up in the middle", { TALK, CLOSE, END } },
	{ "picked up at its end", { { A, F | K, 0 }, { B, K, 0 }, { A, K, 0 }, END } },
	{ "an answer to nothing", { { B, S | K, 0 }, { A, K, 0 }, { B, K, 0 }, END } },
	{ "SYN and silence", { { A, S, 0 }, { A, K, 0 }, { A, P | K, 5 }, { B, K, 0 }, END } },
	{ "simultaneous open",
	  { { A, S, 0 }, { B, S, 0 }, { A, S | K, AGAIN }, { B, S | K, AGAIN }, { A, K, 0 }, { B, K, 0 }, TALK, END } },
	{ "half closed",
	  { OPEN, { A, F | K, 0 }, { B, K, 0 }, { B, P | K, 300 }, { A, K, 0 }, { B, P | K, 30 }, { B, F | K, 0 }, { A, K, 0 }, END } },
	{ "flags that make no sense",
	  { OPEN, { A, 0, 0 }, { B, S | F, 0 }, { A, F, 0 }, { A, F | P | U, 0 }, { A, S | R, 0 }, TALK, END } },
	{ "SYN in an open connection", { OPEN, TALK, { A, S, AGAIN }, { B, K, 0 }, { A, K, 0 }, TALK, END } },
	{ "SYN of the other end", { OPEN, TALK, { B, S, AGAIN }, { A, K, 0 }, TALK, END } },
	{ "urgent and explicit congestion",
	  { OPEN, { A, K | U | P, 3 }, { B, K | MERLON_ECE, 0 }, { A, K | MERLON_CWR, 2 }, { B, K, 0 }, END } },
	/* RFC 5961 3.2: it is to be answered by a challenge; the connection goes on */
	{ "reset ahead of its number", { OPEN, TALK, { A, R, AHEAD }, { A, S, 0 }, { B, K, 0 }, { A, K, 0 }, TALK, END } },
	{ "reset in the middle of nothing", { { A, R, 0 }, { A, R | K, 0 }, { B, R, 0 }, { A, S, 0 }, END } },
};

/* Datagrams and questions: flags mean nothing. */
static const struct play datagram_play[] = {
	{ "question and answer", { { A, 0, 1 }, { B, 0, 2 }, { A, 0, 30 }, { B, 0, 400 }, { A, 0, 30 }, END } },
	{ "the other end first", { { B, 0, 2 }, { A, 0, 1 }, { B, 0, 2 }, { A, 0, 1 }, END } },
	{ "one way", { { A, 0, 0 }, { A, 0, 8 }, { A, 0, 64 }, END } },
	{ "many answers", { { A, 0, 5 }, { B, 0, 5 }, { B, 0, 500 }, { B, 0, 5 }, { A, 0, 5 }, END } },
};
#undef A
#undef B
#undef S
#undef F
#undef R
#undef P
#undef K
#undef U

struct merlon_script {
	struct merlon_ends ends;
	const struct play *play;
	unsigned at;
};

static bool random_opener(struct merlon_packets *p, struct merlon_intent *ret)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		*ret = merlon_opener(p, merlon_random_below(&p->random, MERLON_HOOKS), merlon_random_below(&p->random, MERLON_FAMILIES));
		if (merlon_settle(p, ret) && merlon_intent_limit(ret) == MERLON_LIMIT_NONE)
			return true;
	}
	return false;
}

static struct merlon_script *begin(struct merlon_packets *p)
{
	struct merlon_script *script;
	struct merlon_intent opener;

	if (!random_opener(p, &opener))
		return NULL;
	script = malloc(sizeof(*script));
	if (!script) {
		p->error = -ENOMEM;
		return NULL;
	}
	opener.bytes = opener.nexthdr = 0;
	script->ends = merlon_ends(p, &opener);
	script->at = 0;
	script->play = opener.l4proto == IPPROTO_TCP ? &tcp_play[merlon_random_below(&p->random, ARRAY_SIZE(tcp_play))] :
						       &datagram_play[merlon_random_below(&p->random, ARRAY_SIZE(datagram_play))];
	return script;
}

/* True: that was the last step. */
static bool go_on(struct merlon_packets *p, struct merlon_script *script)
{
	const struct step *step = &script->play->step[script->at++];
	bool again = step->bytes == AGAIN, ahead = step->bytes == AHEAD;
	struct merlon_speech speech = { .side = step->side, .flags = step->flags, .bytes = again || ahead ? 0 : step->bytes, .again = again,
					.ahead = ahead, .note = script->play->note };

	merlon_say(p, &script->ends, &speech);
	return script->play->step[script->at].flags == 0xff;
}

void merlon_scripts_step(struct merlon_packets *p)
{
	struct merlon_script **slot = &p->script[merlon_random_below(&p->random, MERLON_SCRIPTS)];

	if (!*slot)
		*slot = begin(p);
	if (*slot && go_on(p, *slot)) {
		free(*slot);
		*slot = NULL;
	}
}

void merlon_scripts_finish(struct merlon_packets *p)
{
	for (unsigned i = 0; i < MERLON_SCRIPTS; i++) {
		while (p->script[i] && !go_on(p, p->script[i]))
			;
		free(p->script[i]);
		p->script[i] = NULL;
	}
}

void merlon_scripts_clear(struct merlon_packets *p)
{
	for (unsigned i = 0; i < MERLON_SCRIPTS; i++) {
		free(p->script[i]);
		p->script[i] = NULL;
	}
}

/* The same packet as if it came in elsewhere, or from the host. */
static void elsewhere(struct merlon_packets *p, struct merlon_ends *ends, struct merlon_speech *speech)
{
	struct merlon_intent keep = ends->side[speech->side], *intent = &ends->side[speech->side];

	if (intent->in != MERLON_NO_DEVICE && intent->in != MERLON_GROUND_LO && merlon_random_percent(&p->random, 60)) {
		intent->in = merlon_ground_any(p);
		/* the gateway's address goes with the device */
		intent->has_ether = false;
		speech->note = "flow on another interface";
		/* back out the way it came in: the stack may answer with a redirect, which is no matter of rules */
		if (intent->hook == MERLON_FORWARD && intent->in == intent->out)
			intent->in = keep.in;
	} else if (intent->hook != MERLON_OUTPUT && intent->in != MERLON_GROUND_LO) {
		intent->out = intent->hook == MERLON_INPUT ? MERLON_GROUND_LO : intent->out;
		intent->hook = MERLON_OUTPUT;
		intent->in = MERLON_NO_DEVICE;
		speech->note = "flow at another hook";
	} else if (intent->hook == MERLON_OUTPUT && intent->family == MERLON_IPV4 && intent->l4proto != IPPROTO_TCP &&
		   intent->out != MERLON_GROUND_LO) {
		/*
		 * Not TCP: the reset that nf_tables sends would leave by that device, too. A tunnel, as other devices would
		 * ask for the address, and IPv6 has no route then.
		 */
		do
			intent->out = merlon_ground_any(p);
		while (!p->devices.device[intent->out].tun);
		intent->bound = true;
		speech->note = "flow out of another interface";
	}
	merlon_say(p, ends, speech);
	*intent = keep;
}

/* One more packet of the flow, which may end there. */
static void vary_flags(struct merlon_packets *p, struct merlon_ends *ends, struct merlon_speech *speech)
{
	static const uint8_t harmless[] = {
		MERLON_ACK, MERLON_PSH | MERLON_ACK, MERLON_ACK | MERLON_URG, 0, MERLON_SYN | MERLON_FIN, MERLON_ACK | MERLON_ECE,
	};
	static const uint8_t walk[] = { MERLON_SYN, MERLON_SYN | MERLON_ACK, MERLON_FIN | MERLON_ACK, MERLON_RST, MERLON_RST | MERLON_ACK };
	/* the window is MERLON_WINDOW everywhere; the kernel's for old acknowledgments is 66000 */
	static const int32_t edge[] = { -1, 1, -300, MERLON_WINDOW - 1, MERLON_WINDOW, MERLON_WINDOW + 1, -MERLON_WINDOW, -MERLON_WINDOW - 1,
					66000, -66000, -66002, 1 << 20, 1 << 30, -(1 << 30) };
	bool walks = merlon_random_percent(&p->random, 20);

	speech->flags = walks ? walk[merlon_random_below(&p->random, ARRAY_SIZE(walk))] :
				harmless[merlon_random_below(&p->random, ARRAY_SIZE(harmless))];
	speech->bytes = speech->flags & MERLON_PSH ? 1 + merlon_random_below(&p->random, 300) : 0;
	speech->note = "flow with other flags";
	if (merlon_random_percent(&p->random, 30)) {
		speech->ahead = edge[merlon_random_below(&p->random, ARRAY_SIZE(edge))];
		speech->note = "flow with a number out of order";
	}
	merlon_say(p, ends, speech);
}

/* In a frame for several hosts: it is not forwarded, but nf_conntrack has seen it. */
static void say_to_several(struct merlon_packets *p, struct merlon_ends *ends, struct merlon_speech *speech)
{
	struct merlon_intent *intent = &ends->side[speech->side];

	if (intent->hook != MERLON_OUTPUT && intent->in != MERLON_GROUND_LO && !p->devices.device[intent->in].tun)
		intent->pkttype = merlon_random_percent(&p->random, 50) ? PACKET_BROADCAST : PACKET_MULTICAST;
	speech->note = "flow in a frame for several hosts";
	if (merlon_random_percent(&p->random, 50))
		vary_flags(p, ends, speech);
	else
		merlon_say(p, ends, speech);
	intent->pkttype = PACKET_HOST;
}

void merlon_vary(struct merlon_packets *p)
{
	struct merlon_intent opener;
	struct merlon_ends ends;
	unsigned n = 4 + merlon_random_below(&p->random, 8);

	if (!random_opener(p, &opener))
		return;
	opener.bytes = opener.nexthdr = 0;
	ends = merlon_ends(p, &opener);
	merlon_establish(p, &ends, "flow to be varied");
	while (n--) {
		int side = merlon_random_below(&p->random, 2);
		unsigned kind = merlon_random_below(&p->random, 10);
		struct merlon_speech speech = { .side = side, .flags = MERLON_ACK, .note = "flow again" };

		if (kind == 2) {
			say_to_several(p, &ends, &speech);
			continue;
		}
		if (kind >= 3 && kind < 6) {
			elsewhere(p, &ends, &speech);
			continue;
		}
		if (kind >= 6 && kind < 8) {
			vary_flags(p, &ends, &speech);
			continue;
		}
		if (kind >= 8) {
			ends.side[side].tos = merlon_random_below(&p->random, 64) * 4;
			ends.side[side].ttl = 2 + merlon_random_below(&p->random, 250);
			speech.note = "flow with other TTL and TOS";
		}
		merlon_say(p, &ends, &speech);
	}
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libnftables, in a child: it may print, leak and crash there, and its netfilter socket is of the policy namespace. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compat/load.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

#define LONGEST_SHOWN 2000
#define FAILED 125	/* the child could not even start */

static bool is_netfilter_socket(int fd)
{
	int domain = 0, protocol = -1;
	socklen_t size = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_NETLINK)
		return false;
	size = sizeof(protocol);
	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == NETLINK_NETFILTER;
}

/*
 * A context whose netfilter socket is of the policy namespace, while the process stays where it is: so interfaces that
 * rules name are looked up there. The library opens its socket when the context is made and keeps it
 * (nftables 1.0.6 src/libnftables.c, nft_ctx_new). A user without privileges may put a descriptor of another namespace
 * in its place but cannot enter that namespace and return, so this is how it is done for all.
 */
struct nft_ctx *merlon_nft_context(int netns)
{
	int ours = netns < 0 ? -1 : merlon_netns_socket(netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct nft_ctx *ctx;
	bool before[256] = { false };
	int fd, replaced = 0;

	if (netns >= 0 && (ours < 0 || fcntl(ours, F_SETFL, O_NONBLOCK) < 0))
		return NULL;
	for (fd = 0; fd < (int)ARRAY_SIZE(before); fd++)
		before[fd] = is_netfilter_socket(fd);
	ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!ctx || netns < 0)
		return ctx;
	for (fd = 0; fd < (int)ARRAY_SIZE(before); fd++)
		if (!before[fd] && is_netfilter_socket(fd) && dup2(ours, fd) == fd)
			replaced++;
	close(ours);
	if (replaced != 1) {
		nft_ctx_free(ctx);
		return NULL;
	}
	return ctx;
}

struct load {
	int netns;
	const char *file;
};

static int run_load(void *context)
{
	const struct load *load = context;
	struct nft_ctx *ctx = merlon_nft_context(load->netns);
	int r;

	if (!ctx)
		return FAILED;
	nft_ctx_buffer_error(ctx);
	nft_ctx_buffer_output(ctx);
	r = nft_run_cmd_from_filename(ctx, load->file);
	fputs(nft_ctx_get_error_buffer(ctx), stderr);
	return r ? 1 : 0;
}

/* "FILE:3:7-10: Error: TEXT": a place, and where the message begins; false for lines that only belong to a message. */
static bool parse_head(const char *line, char **file, unsigned *number, const char **columns, const char **text)
{
	const char *head = strstr(line, ": Error: "), *end = strchr(line, '\n'), *p = head;
	size_t name;

	if (!head || (end && head > end))
		return false;
	*text = head + strlen(": Error: ");
	*file = NULL;
	*number = 0;
	*columns = "";
	/* back over COLUMNS and LINE; a file's name may hold colons */
	while (p > line && p[-1] != ':')
		p--;
	if (p == line || !isdigit((unsigned char)*p))
		return true;
	*columns = p;
	name = p - line - 1;
	while (name > 0 && line[name - 1] != ':')
		name--;
	if (!name)
		return true;
	*number = (unsigned)strtoul(line + name, NULL, 10);
	*file = strndup(line, name - 1);
	return true;
}

/* Splits nft's output into messages: each begins with a head and takes the lines up to the next. */
static void report(const struct merlon_text *source, const char *loaded, char *output, struct merlon_diag *diag)
{
	struct merlon_place place = { .file = source->name };
	char *p = output;
	bool any = false;

	while (*p) {
		_cleanup_free_ char *file = NULL;
		const char *columns, *text;
		char *next = p, *other;
		const char *c, *t;
		unsigned line, n;
		bool is_head;

		is_head = parse_head(p, &file, &line, &columns, &text);
		do {
			next = strchr(next, '\n');
			next = next ? next + 1 : p + strlen(p);
			other = NULL;
		} while (*next && !(parse_head(next, &other, &n, &c, &t) && (free(other), true)));
		if (is_head) {
			const char *name = file && strcmp(file, loaded) == 0 ? source->name : file;
			size_t size = next - text, head = strcspn(text, "\n");

			while (size && text[size - 1] == '\n')
				size--;
			if (head > size)
				head = size;
			/* of what was written by hand the line helps */
			if (size > LONGEST_SHOWN)
				size = head;
			place = (struct merlon_place){ name ? name : source->name, line };
			if (*columns)
				merlon_diag_add(diag, MERLON_ERROR, place, "%.*s (column %.*s)%.*s", (int)head, text,
						(int)strcspn(columns, ":"), columns, (int)(size - head), text + head);
			else
				merlon_diag_add(diag, MERLON_ERROR, place, "%.*s", (int)size, text);
			merlon_cure_denied(diag->n ? diag->message[diag->n - 1].text : "", diag);
			any = true;
		}
		p = next;
	}
	if (!any)
		merlon_diag_add(diag, MERLON_ERROR, place, "%s", *output ? output : "nft failed without a word");
}

/* A file of the text that was read: of a buffer nft tells no lines. */
static int file_of(const struct merlon_text *text, int *ret_fd)
{
	_cleanup_close_ int fd = memfd_create("merlon-text", MFD_CLOEXEC);
	size_t done = 0;
	ssize_t n;

	for (; fd >= 0 && done < text->size; done += n) {
		n = write(fd, text->text + done, text->size - done);
		if (n < 0)
			return -errno;
	}
	if (fd < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int merlon_nft_load(int netns, const struct merlon_text *text, bool from_text, const struct merlon_meanwhile *meanwhile,
		    struct merlon_diag *diag)
{
	struct load load = { netns, text->name };
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *output = NULL;
	char path[64];
	size_t size;
	int r = from_text ? file_of(text, &fd) : 0;

	if (r == 0 && from_text) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		load.file = path;
	}
	if (r == 0)
		r = merlon_child_and(run_load, &load, meanwhile, &output, &size);

	if (r == 0)
		return 0;
	if (r < 0 || r == FAILED)
		return merlon_tool_failed(text->name, "libnftables", r < 0 ? r : -EIO, diag);
	report(text, load.file, output, diag);
	return merlon_is_too_long(output, diag) ? -EMSGSIZE : -EINVAL;
}

static int run_list(void *context)
{
	struct nft_ctx *ctx = merlon_nft_context(*(int *)context);

	if (!ctx)
		return FAILED;
	nft_ctx_output_set_flags(ctx, NFT_CTX_OUTPUT_HANDLE | NFT_CTX_OUTPUT_STATELESS);
	nft_ctx_buffer_error(ctx);
	return nft_run_cmd_from_buffer(ctx, "list ruleset") ? 1 : 0;
}

struct listing {
	struct merlon_ruleset *ruleset;
	uint32_t table;
	struct merlon_chain *chain;
	size_t next;	/* rule of the chain that is looked at first */
};

static uint8_t family_of(const char *word)
{
	static const struct {
		const char *name;
		uint8_t family;
	} known[] = {
		{ "ip", NFPROTO_IPV4 }, { "ip6", NFPROTO_IPV6 }, { "inet", NFPROTO_INET }, { "arp", NFPROTO_ARP },
		{ "bridge", NFPROTO_BRIDGE }, { "netdev", NFPROTO_NETDEV },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].name, word) == 0)
			return known[i].family;
	return 0;
}

static void enter(struct listing *at, const char *line)
{
	struct merlon_ruleset *rs = at->ruleset;
	char family[16], name[256];
	size_t i;

	if (sscanf(line, "table %15s %255s", family, name) == 2) {
		at->table = UINT32_MAX;
		at->chain = NULL;
		for (i = 0; i < rs->n_tables; i++)
			if (rs->table[i].family == family_of(family) && strcmp(rs->table[i].name, name) == 0)
				at->table = i;
	} else if (sscanf(line, "\tchain %255s", name) == 1) {
		at->chain = NULL;
		at->next = 0;
		for (i = 0; i < rs->n_chains; i++)
			if (rs->chain[i].table == at->table && strcmp(rs->chain[i].name, name) == 0)
				at->chain = &rs->chain[i];
	}
}

static void take_text(struct listing *at, char *line)
{
	char *tag = NULL, *p = line;
	uint64_t handle;
	size_t i;

	while ((p = strstr(p, " # handle ")))
		tag = p++;
	if (!tag || !at->chain || strncmp(line, "\t\t", 2) != 0)
		return;
	handle = strtoull(tag + strlen(" # handle "), NULL, 10);
	*tag = '\0';
	/* the listing has the order of the dump: each is right behind the one before */
	for (i = 0; i < at->chain->n; i++) {
		struct merlon_rule *rule = &at->chain->rule[(at->next + i) % at->chain->n];

		if (rule->handle != handle)
			continue;
		if (!rule->text)
			rule->text = strdup(line + strspn(line, "\t"));
		at->next = (at->next + i + 1) % at->chain->n;
		return;
	}
}

void merlon_nft_texts(int netns, struct merlon_ruleset *ruleset)
{
	struct listing at = { .ruleset = ruleset, .table = UINT32_MAX };
	_cleanup_free_ char *output = NULL;
	bool missing = false;
	size_t size, i, j;
	char *line, *rest;

	merlon_nft_sets(netns, ruleset);
	for (i = 0; i < ruleset->n_chains; i++)
		for (j = 0; j < ruleset->chain[i].n; j++)
			missing |= !ruleset->chain[i].rule[j].text;
	if (!missing || merlon_child(run_list, &netns, &output, &size) != 0)
		return;
	for (line = strtok_r(output, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, "table ", 6) == 0 || strncmp(line, "\tchain ", 7) == 0)
			enter(&at, line);
		else
			take_text(&at, line);
	}
}

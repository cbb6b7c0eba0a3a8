/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "compat/load.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat/build.h"
#include "compat/heard.h"
#include "compat/reader.h"
#include "compat/snapshot.h"
#include "src/util/cleanup.h"
#include "src/util/netns.h"

int merlon_policyns_new(int *ret_fd, struct merlon_diag *diag)
{
	int r = merlon_netns_new(ret_fd);

	if (r == 0)
		return 0;
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 }, "cannot make a network namespace for the policy: %s",
			strerror(-r));
	merlon_diag_cure(diag, r == -ENOSPC ? "raise the sysctl user.max_net_namespaces" :
			 "run as root, or let users have user namespaces (sysctl user.max_user_namespaces)");
	return r;
}

/* By what gzip, xz, zstd and bzip2 begin their files with. */
static bool is_compressed(const char *data)
{
	return !strncmp(data, "\x1f\x8b", 2) || !strncmp(data, "\xfd" "7zXZ", 5) || !strncmp(data, "\x28\xb5\x2f\xfd", 4) ||
	       !strncmp(data, "BZh", 3);
}

/* Its size, or a negative errno: -EFBIG, -EINVAL: it has NUL bytes; -EBADMSG: for it is compressed. What has no end is not read for ever. */
static ssize_t read_all(FILE *f, char **ret)
{
	_cleanup_free_ char *data = NULL;
	size_t n = 0, room = 0, got;

	do {
		if (room - n < BUFSIZ) {
			char *grown = realloc(data, room = room ? room * 2 : 4 * BUFSIZ);

			if (!grown)
				return -ENOMEM;
			data = grown;
		}
		got = fread(data + n, 1, room - n - 1, f);
		if (ferror(f))
			return -errno;
		if (memchr(data + n, '\0', got))
			return is_compressed(data) ? -EBADMSG : -EINVAL;
		n += got;
		if (n > MERLON_TEXT_LARGEST)
			return -EFBIG;
	} while (!feof(f));
	data[n] = '\0';
	*ret = TAKE_PTR(data);
	return n;
}

void merlon_cure_denied(const char *message, struct merlon_diag *diag)
{
	if (strstr(message, strerror(EACCES)) && geteuid() == 0)
		merlon_diag_cure(diag, "merlond is root without the privilege to override permissions, so they must let root read it: "
				 "`chown root FILE`, and in a directory that root may search");
}

int merlon_cannot_read(const char *file, int error, struct merlon_diag *diag)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = file }, "cannot read: %s",
			error == -EMEDIUMTYPE ? "it is no regular file" : strerror(-error));
	merlon_cure_denied(strerror(-error), diag);
	return error;
}

/* All of a file or, for NULL, of the standard input. */
int merlon_text_read(const char *file, struct merlon_text *text, struct merlon_diag *diag)
{
	_cleanup_fclose_ FILE *f = file ? fopen(file, "re") : fdopen(dup(STDIN_FILENO), "r");
	struct merlon_place place = { .file = text->name };
	ssize_t n = f ? read_all(f, &text->text) : -errno;

	if (n == -EINVAL)
		merlon_diag_add(diag, MERLON_ERROR, place, "not a ruleset: it has NUL bytes");
	else if (n == -EBADMSG)
		merlon_diag_add(diag, MERLON_ERROR, place, "not a ruleset: it is compressed");
	else if (n == -EFBIG)
		merlon_diag_add(diag, MERLON_ERROR, place, "no ruleset has more than %u MB", MERLON_TEXT_LARGEST >> 20);
	else if (n < 0)
		merlon_cannot_read(text->name, n, diag);
	if (n < 0)
		return n;
	text->size = n;
	return 0;
}

/* What a pipe or the like had, and standard input: it can be read once, and is asked for more often. The process keeps it. */
struct kept {
	struct kept *next;
	dev_t dev;
	ino_t ino;
	char *text;
	size_t size;
};

static int keep(const char *file, const struct stat *st, struct merlon_text *text, struct kept **ret, struct merlon_diag *diag)
{
	static struct kept *first;
	struct kept *k;
	int r;

	for (k = first; k && (k->dev != st->st_dev || k->ino != st->st_ino);)
		k = k->next;
	if (!k) {
		r = merlon_text_read(file, text, diag);
		if (r < 0)
			return r;
		k = malloc(sizeof(*k));
		if (!k) {
			free(TAKE_PTR(text->text));
			return -ENOMEM;
		}
		*k = (struct kept){ first, st->st_dev, st->st_ino, TAKE_PTR(text->text), text->size };
		first = k;
	}
	*ret = k;
	return 0;
}

/* `ret_kept`: only this text can be loaded, the file cannot be read again. */
static int read_text(const char *file, struct merlon_text *text, bool *ret_kept, struct merlon_diag *diag)
{
	bool input = strcmp(file, "-") == 0;
	struct stat st = { 0 };
	struct kept *k;
	int r;

	text->name = input ? "<stdin>" : file;
	*ret_kept = input;
	if ((input ? fstat(STDIN_FILENO, &st) : stat(file, &st)) < 0 || (!input && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))))
		return merlon_text_read(input ? NULL : file, text, diag);
	*ret_kept = true;
	r = keep(input ? NULL : file, &st, text, &k, diag);
	if (r < 0)
		return r;
	text->size = k->size;
	text->text = malloc(k->size + 1);
	return text->text ? (memcpy(text->text, k->text, k->size + 1), 0) : -ENOMEM;
}

int merlon_input_read(const char *file, char **ret_text, size_t *ret_size, struct merlon_diag *diag)
{
	struct merlon_text text = { 0 };
	bool kept;
	int r = read_text(file, &text, &kept, diag);

	if (r == 0) {
		*ret_text = text.text;
		*ret_size = text.size;
	}
	return r;
}

int merlon_tool_failed(const char *file, const char *tool, int error, struct merlon_diag *diag)
{
	struct merlon_place place = { .file = file };

	if (error == -ETIMEDOUT) {
		merlon_diag_add(diag, MERLON_ERROR, place, "%s did not end within %u s, and was killed", tool, merlon_child_limit_s());
		merlon_diag_cure(diag, "was it stopped (SIGSTOP), or does the ruleset include a pipe that nobody writes to? where the host "
				 "is slow, start merlond with more seconds in MERLON_CHILD_TIMEOUT");
	} else if (error == -EFBIG) {
		merlon_diag_add(diag, MERLON_ERROR, place, "%s printed without end, and was killed", tool);
	} else if (error == -ECHILD) {
		merlon_diag_add(diag, MERLON_ERROR, place, "%s was killed by a signal before it ended", tool);
		merlon_diag_cure(diag, "where the kernel's log has it killed for want of memory, give it more, or a smaller ruleset");
	} else {
		merlon_diag_add(diag, MERLON_ERROR, place, "%s could not be run on the policy namespace: %s", tool, strerror(-error));
	}
	return error;
}

bool merlon_is_too_long(const char *message, struct merlon_diag *diag)
{
	if (!strstr(message, strerror(EMSGSIZE)) && !strstr(message, "Message too long"))
		return false;
	merlon_diag_cure(diag, "so many rules at once need root: without privileges a netlink socket takes what the sysctl "
			 "net.core.wmem_max allows");
	return true;
}

#define LARGE (1 << 16)	/* bytes of text, from which on the rules are listened for */

struct loaded {
	struct merlon_text text;
	bool iptables;
	int family;
};

/* Several sources, one after the other. */
struct loading {
	int policyns;
	struct loaded *loaded;		/* [n] */
	size_t n;
	struct merlon_heard *heard;	/* of the rules of a single large one, or NULL */
	struct merlon_ruleset *ruleset;	/* what was read, or NULL */
	struct merlon_snapshot snapshot;
	bool wants_snapshot;
	struct merlon_origins origins;	/* of a single one it would say nothing */
};

/* `kept`: as read_text() says. */
static int load_text(int policyns, const struct merlon_source *source, struct loaded *loaded, bool kept,
		     const struct merlon_meanwhile *meanwhile, struct merlon_diag *diag)
{
	int r;

	loaded->iptables = source->format == MERLON_FORMAT_IPTABLES ||
			   (source->format == MERLON_FORMAT_AUTO && merlon_is_iptables(&loaded->text));
	if (!loaded->iptables)
		return merlon_nft_load(policyns, &loaded->text, kept, meanwhile, diag);
	loaded->family = source->family;
	if (loaded->family == AF_UNSPEC) {
		r = merlon_iptables_family(&loaded->text, diag);
		if (r < 0)
			return r;
		loaded->family = r;
	}
	return merlon_iptables_load(policyns, &loaded->text, loaded->family, meanwhile, diag);
}

static bool may_be_large(const struct merlon_text *text)
{
	return text->size >= LARGE || memmem(text->text, text->size, "include", strlen("include"));
}

/* Whether a line of it is a call of iptables, or the first says that a shell runs it. */
static bool is_script(const char *text)
{
	const char *line = text, *word;
	size_t first = strcspn(text, "\n");

	if (!strncmp(text, "#!", 2) && (memmem(text, first + 1, "sh\n", 3) || memmem(text, first, "sh ", 3)))
		return true;
	for (; line; line = strchr(line, '\n')) {
		line += strspn(line, "\n \t");
		word = strncmp(line, "sudo ", 5) ? line : line + 5;
		for (first = strcspn(word, " \t\n"); first && memchr(word, '/', first); first--)
			word++;
		if (word[first] == ' ' && ((first == 8 && !strncmp(word, "iptables", 8)) || (first == 9 && !strncmp(word, "ip6tables", 9))))
			return true;
	}
	return false;
}

/* What makes each line an error of its own is said once. False: it is nothing of the kind. */
static bool explain_text(const struct merlon_text *text, struct merlon_diag *diag)
{
	static const char mark[] = "\xef\xbb\xbf";
	struct merlon_place place = { .file = text->name };

	if (!strncmp(text->text, mark, strlen(mark))) {
		merlon_diag_add(diag, MERLON_ERROR, place, "the file begins with a byte order mark");
		merlon_diag_cure(diag, "take it out: sed -i '1s/^\\xef\\xbb\\xbf//' FILE");
	} else if (is_script(text->text)) {
		merlon_diag_add(diag, MERLON_ERROR, place, "this is a shell script, no ruleset");
		merlon_diag_cure(diag, "where it has run, give what iptables-save and ip6tables-save print, or `merlon import --live`");
	} else if (strstr(text->text, "\r\n")) {
		/* in comments they do no harm */
		merlon_diag_add(diag, MERLON_ERROR, place, "the file has DOS line ends (CR LF)");
		merlon_diag_cure(diag, "take them out: sed -i 's/\\r$//' FILE");
	} else {
		return false;
	}
	return true;
}

/* `heard`: of its rules, or NULL. */
static int read_namespace(int policyns, struct merlon_heard *heard, struct merlon_ruleset **ret, struct merlon_snapshot *ret_snapshot,
			  struct merlon_diag *diag)
{
	const struct merlon_along along = { .heard = heard };
	int fd = merlon_netns_socket(policyns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct mnl_socket *netlink = fd < 0 ? NULL : mnl_socket_fdopen(fd);
	int r;

	if (!netlink) {
		r = fd < 0 ? fd : -errno;
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ 0 },
				"cannot open a netlink socket in the policy namespace: %s", strerror(-r));
		if (fd >= 0)
			close(fd);
		return r;
	}
	if (ret_snapshot)
		r = merlon_snapshot_and_heard(netlink, heard, ret, ret_snapshot, diag);
	else
		r = merlon_read_along(netlink, &along, ret, diag);
	mnl_socket_close(netlink);
	return r;
}

/*
 * A child that has loaded a large text frees it, which takes as long as a tenth of the whole: what it has loaded is read meanwhile.
 * What fails here is read again.
 */
static void read_early(void *context, int child, uint64_t end_ns)
{
	struct loading *l = context;
	struct merlon_diag diag = { 0 };

	if (merlon_heard_transaction(l->heard, child, end_ns))
		read_namespace(l->policyns, l->heard, &l->ruleset, l->wants_snapshot ? &l->snapshot : NULL, &diag);
	merlon_diag_clear(&diag);
}

/* What all sources have loaded. */
static int read_loaded(struct loading *l, struct merlon_diag *diag)
{
	if (l->ruleset && !merlon_heard_more(l->heard))
		return 0;
	merlon_ruleset_free(TAKE_PTR(l->ruleset));
	merlon_snapshot_clear(&l->snapshot);
	return read_namespace(l->policyns, l->heard, &l->ruleset, l->wants_snapshot ? &l->snapshot : NULL, diag);
}

/* Source `i`. */
static int load_one(const struct merlon_source *source, struct loading *l, size_t i, struct merlon_diag *diag)
{
	const struct merlon_meanwhile early = { read_early, l };
	struct loaded *loaded = &l->loaded[i];
	struct merlon_diag of_text = { 0 };
	bool kept;
	int r = read_text(source->file, &loaded->text, &kept, diag);

	if (r < 0)
		return r;
	if (l->n == 1 && may_be_large(&loaded->text))
		l->heard = merlon_heard_new(l->policyns);
	r = load_text(l->policyns, source, loaded, kept, l->heard ? &early : NULL, &of_text);
	if (r < 0 && explain_text(&loaded->text, diag))
		merlon_diag_clear(&of_text);
	merlon_diag_take(diag, &of_text);
	return r;
}

/* iptables-restore replaces tables: of two files of one family, the second would silently be all. */
static int only_one(const struct loaded *loaded, size_t i, struct merlon_diag *diag)
{
	size_t j;

	for (j = 0; loaded[i].iptables && j < i; j++)
		if (loaded[j].iptables && loaded[j].family == loaded[i].family) {
			merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = loaded[i].text.name },
					"this and %s are both iptables rules of %s", loaded[j].text.name,
					loaded[i].family == AF_INET6 ? "IPv6" : "IPv4");
			merlon_diag_cure(diag, "give one file of each family");
			return -EINVAL;
		}
	return 0;
}

int merlon_read_namespace(int policyns, struct merlon_ruleset **ret, struct merlon_snapshot *ret_snapshot,
			  struct merlon_diag *diag)
{
	return read_namespace(policyns, NULL, ret, ret_snapshot, diag);
}

static void count(char *text, size_t size, size_t n, const char *one, const char *many)
{
	size_t used = strlen(text);

	if (n)
		snprintf(text + used, size - used, "%s%zu %s", used ? ", " : "", n, n == 1 ? one : many);
}

/* Several files are one policy: what one of them takes away from another would silently be in none. */
static int refuse_loss(const struct loading *l, struct merlon_ruleset *ruleset, const struct merlon_loss *loss,
		       struct merlon_diag *diag)
{
	const struct loaded *by = &l->loaded[l->origins.sources - 1];
	const char *from = l->loaded[loss->from].text.name;
	struct merlon_removal removal = { .place.file = by->text.name, .text = "this file" };
	char lost[128] = "";

	count(lost, sizeof(lost), loss->rules, "rule", "rules");
	count(lost, sizeof(lost), loss->policies, "policy drop", "policies drop");
	if (!by->iptables)
		merlon_nft_removal(ruleset, &by->text, &removal);
	merlon_diag_add(diag, MERLON_ERROR, removal.place, "%s takes away what %s%s: %s", removal.text, from,
			loss->more ? " and others have" : " has", lost);
	merlon_diag_cure(diag, "files that are given together make one policy of all their rules: %s before %s",
			 by->iptables ? "iptables-save rules replace their table as a whole, so give this file" :
			 "take that statement out, or give this file", from);
	return -EINVAL;
}

/* What is new since the last source is this one's. */
static int note_origins(struct loading *l, struct merlon_ruleset *ruleset, struct merlon_diag *diag)
{
	struct merlon_loss loss;
	int r = merlon_origins_add(&l->origins, ruleset, &loss);

	return r == 0 && loss.from != MERLON_NOTHING_LOST ? refuse_loss(l, ruleset, &loss, diag) : r;
}

static int read_and_note(int policyns, struct loading *l, struct merlon_diag *diag)
{
	_cleanup_(merlon_ruleset_freep) struct merlon_ruleset *ruleset = NULL;
	int r = merlon_read_namespace(policyns, &ruleset, NULL, diag);

	return r ? r : note_origins(l, ruleset, diag);
}

static int settle_places(int policyns, struct merlon_ruleset *ruleset, const struct loading *l, struct merlon_diag *diag)
{
	struct merlon_share share = { l->n > 1 ? &l->origins : NULL, 0 };
	bool nft = false;
	int r = 0;

	for (; share.source < l->n && r == 0; share.source++) {
		const struct loaded *loaded = &l->loaded[share.source];

		nft |= !loaded->iptables;
		if (loaded->iptables)
			r = merlon_iptables_places(ruleset, &loaded->text, loaded->family, &share);
		else
			r = merlon_nft_places(ruleset, &loaded->text, &share, diag);
	}
	if (r == 0 && nft)
		merlon_nft_texts(policyns, ruleset);
	return r;
}

static int load_all(const struct merlon_source *sources, struct loading *l, struct merlon_diag *diag)
{
	size_t i;
	int r = l->loaded ? 0 : -ENOMEM;

	for (i = 0; i < l->n && r == 0; i++) {
		r = load_one(&sources[i], l, i, diag);
		if (r == 0)
			r = only_one(l->loaded, i, diag);
		if (r == 0 && i + 1 < l->n)
			r = read_and_note(l->policyns, l, diag);
	}
	if (r == 0)
		r = read_loaded(l, diag);
	if (r == 0 && l->n > 1)
		r = note_origins(l, l->ruleset, diag);
	return r ? r : settle_places(l->policyns, l->ruleset, l, diag);
}

static int load(int policyns, const struct merlon_source *sources, size_t n_sources, struct merlon_ruleset **ret_ruleset,
		struct merlon_snapshot *ret_snapshot, struct merlon_diag *diag)
{
	struct loading l = { .policyns = policyns, .loaded = calloc(n_sources + 1, sizeof(*l.loaded)), .n = n_sources,
			     .wants_snapshot = ret_snapshot };
	size_t i;
	int r = load_all(sources, &l, diag);

	merlon_heard_free(l.heard);
	for (i = 0; l.loaded && i < n_sources; i++)
		free(l.loaded[i].text.text);
	free(l.loaded);
	merlon_origins_clear(&l.origins);
	if (r == 0) {
		*ret_ruleset = TAKE_PTR(l.ruleset);
		if (ret_snapshot)
			*ret_snapshot = l.snapshot;
	} else {
		merlon_ruleset_free(l.ruleset);
		merlon_snapshot_clear(&l.snapshot);
	}
	return r;
}

int merlon_load(int policyns, const struct merlon_source *sources, size_t n_sources,
		struct merlon_ruleset **ret_ruleset, struct merlon_diag *diag)
{
	return load(policyns, sources, n_sources, ret_ruleset, NULL, diag);
}

int merlon_read_files_and(const struct merlon_source *sources, size_t n_sources, struct merlon_ruleset **ret_ruleset,
			  struct merlon_snapshot *ret_snapshot, struct merlon_diag *diag)
{
	_cleanup_close_ int policyns = -1;
	int r;

	/* What is wrong with a file is said also to those who could not have a namespace. */
	for (size_t i = 0; i < n_sources; i++)
		if (strcmp(sources[i].file, "-") && access(sources[i].file, R_OK) < 0)
			return merlon_cannot_read(sources[i].file, -errno, diag);
	r = merlon_policyns_new(&policyns, diag);
	if (r == 0)
		r = load(policyns, sources, n_sources, ret_ruleset, ret_snapshot, diag);
	return r;
}

int merlon_read_files(const struct merlon_source *sources, size_t n_sources, struct merlon_ruleset **ret_ruleset,
		      struct merlon_diag *diag)
{
	return merlon_read_files_and(sources, n_sources, ret_ruleset, NULL, diag);
}

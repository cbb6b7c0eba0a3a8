/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/ini.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "src/util/cleanup.h"
#include "src/util/slip.h"

struct state {
	const struct merlon_ini_key *keys;
	merlon_ini_taken *taken;
	void *context;
	struct merlon_diag *diag;
	char section[64];
	bool known_section;
};

static char *trim(char *text)
{
	char *end;

	text += strspn(text, " \t\r\n");
	end = text + strlen(text);
	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	*end = 0;
	return text;
}

/* What is near to an unknown section, or, with `section`, to an unknown key of it. */
static void suggest(const struct state *s, const char *section, const char *word)
{
	const struct merlon_ini_key *k;
	const char *best = NULL;

	for (k = s->keys; k->section; k++)
		if (!section)
			best = merlon_slip(word, best, k->section);
		else if (k->key && !strcmp(k->section, section))
			best = merlon_slip(word, best, k->key);
	if (best)
		merlon_diag_cure(s->diag, section ? "did you mean %s=?" : "did you mean [%s]?", best);
}

static int begin_section(struct state *s, char *line, struct merlon_place place)
{
	size_t n = strlen(line);
	const struct merlon_ini_key *k;

	if (line[n - 1] != ']' || n < 3 || n - 2 >= sizeof(s->section)) {
		merlon_diag_add(s->diag, MERLON_ERROR, place, "\"%s\" is not a section", line);
		return -EINVAL;
	}
	memcpy(s->section, line + 1, n - 2);
	s->section[n - 2] = 0;
	s->known_section = false;
	for (k = s->keys; k->section; k++)
		s->known_section |= !strcmp(k->section, s->section);
	if (!s->known_section) {
		merlon_diag_add(s->diag, MERLON_WARNING, place, "unknown section [%s]", s->section);
		suggest(s, NULL, s->section);
	}
	return 0;
}

static int assign(struct state *s, char *line, struct merlon_place place)
{
	char *equals = strchr(line, '='), *key, *value;
	const struct merlon_ini_key *k;

	if (!equals || equals == line) {
		merlon_diag_add(s->diag, MERLON_ERROR, place, "\"%s\" is not Key=Value", line);
		return -EINVAL;
	}
	if (!s->section[0]) {
		merlon_diag_add(s->diag, MERLON_ERROR, place, "a key before the first [Section]");
		return -EINVAL;
	}
	*equals = 0;
	key = trim(line);
	value = trim(equals + 1);
	for (k = s->keys; k->section; k++) {
		int r = 1;

		if (strcmp(k->section, s->section))
			continue;
		if (!k->key)
			r = k->set_any(s->context, key, value, place, s->diag);
		else if (!strcmp(k->key, key))
			r = k->set(s->context, value, place, s->diag);
		if (r < 0)
			return r;
		if (!r)
			return s->taken ? s->taken(s->context, s->section, key, value, place) : 0;
	}
	if (s->known_section) {
		merlon_diag_add(s->diag, MERLON_WARNING, place, "unknown key %s in [%s]", key, s->section);
		suggest(s, s->section, key);
	}
	return 0;
}

/* A link to it is how drop-ins are masked. */
static bool is_dev_null(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* -EINVAL: it is neither a file nor a directory. What is a pipe would wait for a writer, and others have no end. */
static int open_regular(const char *file)
{
	struct stat st;
	int fd;

	if (stat(file, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !is_dev_null(&st))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	/* nor is it waited for what takes its place meanwhile */
	fd = open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int cannot_read(const char *file, int error, struct merlon_diag *diag)
{
	merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = file }, "cannot read: %s",
			error == -EINVAL ? "it is no regular file" : strerror(-error));
	if (error == -EINVAL)
		merlon_diag_cure(diag, "put a file with settings in its place, or take it away");
	return error;
}

int merlon_ini_read(const char *file, const struct merlon_ini_key *keys, merlon_ini_taken *taken, void *context,
		    struct merlon_diag *diag)
{
	struct state s = { .keys = keys, .taken = taken, .context = context, .diag = diag };
	struct merlon_place place = { .file = file };
	int fd = open_regular(file), first = 0;
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	ssize_t bytes;

	if (!f) {
		merlon_closep(&fd);
		return cannot_read(file, fd < 0 ? fd : -ENOMEM, diag);
	}
	while ((bytes = getline(&line, &room, f)) >= 0) {
		bool cut = memchr(line, 0, bytes);
		char *text = trim(line);
		int r;

		place.line++;
		if (!cut && (!*text || *text == '#' || *text == ';'))
			continue;
		if (cut) {
			merlon_diag_add(diag, MERLON_ERROR, place, "a NUL byte: this is no text");
			r = -EINVAL;
		} else {
			r = *text == '[' ? begin_section(&s, text, place) : assign(&s, text, place);
		}
		if (r < 0 && !first)
			first = r;
	}
	if (ferror(f) && !first) {
		merlon_diag_add(diag, MERLON_ERROR, (struct merlon_place){ .file = file }, "cannot read to the end");
		first = -EIO;
	}
	return first;
}

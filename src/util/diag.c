/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/diag.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void merlon_diag_add(struct merlon_diag *diag, enum merlon_severity severity, struct merlon_place place,
		     const char *format, ...)
{
	struct merlon_message *grown, m = { .severity = severity, .line = place.line };
	va_list args;

	va_start(args, format);
	if (vasprintf(&m.text, format, args) < 0)
		m.text = NULL;
	va_end(args);
	if (!m.text)
		return;
	if (place.file)
		m.file = strdup(place.file);

	grown = reallocarray(diag->message, diag->n + 1, sizeof(*grown));
	if (!grown) {
		free(m.text);
		free(m.file);
		return;
	}
	diag->message = grown;
	diag->message[diag->n++] = m;
}

void merlon_diag_cure(struct merlon_diag *diag, const char *format, ...)
{
	struct merlon_message *last;
	va_list args;

	if (!diag->n)
		return;
	last = &diag->message[diag->n - 1];
	free(last->cure);
	va_start(args, format);
	if (vasprintf(&last->cure, format, args) < 0)
		last->cure = NULL;
	va_end(args);
}

void merlon_diag_take(struct merlon_diag *to, struct merlon_diag *from)
{
	struct merlon_message *grown = reallocarray(to->message, to->n + from->n + 1, sizeof(*grown));

	if (!grown)
		return;
	to->message = grown;
	if (from->n)
		memcpy(to->message + to->n, from->message, from->n * sizeof(*grown));
	to->n += from->n;
	free(from->message);
	*from = (struct merlon_diag){ 0 };
}

void merlon_diag_print(const struct merlon_diag *diag, FILE *out)
{
	static const char *const name[] = { "error", "warning", "note" };
	size_t i;

	for (i = 0; i < diag->n; i++) {
		const struct merlon_message *m = &diag->message[i];

		if (m->file && m->line)
			fprintf(out, "%s:%u: ", m->file, m->line);
		else if (m->file)
			fprintf(out, "%s: ", m->file);
		fprintf(out, "%s: %s\n", name[m->severity], m->text);
		if (m->cure)
			fprintf(out, "  %s\n", m->cure);
	}
}

void merlon_diag_clear(struct merlon_diag *diag)
{
	size_t i;

	for (i = 0; i < diag->n; i++) {
		free(diag->message[i].file);
		free(diag->message[i].text);
		free(diag->message[i].cure);
	}
	free(diag->message);
	*diag = (struct merlon_diag){ 0 };
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/util/slip.h"

#include <ctype.h>
#include <string.h>

#define LONGEST 32
#define MOST 2

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Levenshtein's; LONGEST: too far. */
static unsigned distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b), i, j;
	unsigned row[LONGEST + 1];

	if (n > LONGEST || m > LONGEST)
		return LONGEST;
	for (j = 0; j <= m; j++)
		row[j] = j;
	for (i = 1; i <= n; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= m; j++) {
			unsigned differs = tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]);
			unsigned here = least(diagonal + differs, least(row[j], row[j - 1]) + 1);

			diagonal = row[j];
			row[j] = here;
		}
	}
	return row[m] <= MOST && 2 * row[m] < m ? row[m] : LONGEST;
}

const char *merlon_slip(const char *word, const char *best, const char *other)
{
	unsigned of_best = best ? distance(word, best) : LONGEST, of_other = distance(word, other);

	return of_other < of_best ? other : best;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/host/host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "src/host/internal.h"
#include "src/util/cleanup.h"

int merlon_finding_add(struct merlon_host_view *view, const struct merlon_finding *like, const char *where, ...)
{
	struct merlon_host *host = view->host;
	struct merlon_finding *grown = reallocarray(host->finding, host->n + 1, sizeof(*grown)), one = *like;
	va_list args;
	size_t at;

	if (!grown)
		return -ENOMEM;
	host->finding = grown;
	va_start(args, where);
	if (vasprintf(&one.where, where, args) < 0)
		one.where = NULL;
	va_end(args);
	if (!one.where)
		return -ENOMEM;
	for (at = host->n; at && grown[at - 1].severity > one.severity; at--)
		grown[at] = grown[at - 1];
	grown[at] = one;
	host->n++;
	return 0;
}

int merlon_finding_unseen(struct merlon_host_view *view, const char *what, int error)
{
	const struct merlon_finding unseen = {
		.what = "unseen",
		.why = "this could not be looked at",
		.cure = error == -EPERM || error == -EACCES ? "run as root, or give CAP_NET_ADMIN" : "try again",
		.severity = view->options->unseen_refuses ? MERLON_HOST_REFUSE : MERLON_HOST_WARN,
	};

	return error == -ENOMEM ? error : merlon_finding_add(view, &unseen, "%s: %s", what, strerror(-error));
}

enum merlon_host_severity merlon_host_concern(const struct merlon_host_view *view, unsigned asks)
{
	if (!view->options->policy)
		return MERLON_HOST_WARN;
	return (view->asks & asks) == asks ? MERLON_HOST_REFUSE : MERLON_HOST_NOTE;
}

bool merlon_host_filters(const struct merlon_host_view *view, const char *name)
{
	return !view->options->interfaces || merlon_ifpattern_match(view->options->interfaces, name);
}

static unsigned asks_by_field(enum merlon_field field)
{
	switch (field) {
	case MERLON_F_MARK:
		return MERLON_ASKS_MARK;
	case MERLON_F_CT_STATE:
		return MERLON_ASKS_STATE;
	case MERLON_F_CT_DIRECTION:
		return MERLON_ASKS_STATE | MERLON_ASKS_BEGINNING;
	case MERLON_F_TTL:
	case MERLON_F_TOS:
	case MERLON_F_LENGTH:
	case MERLON_F_TCP_FLAGS:
	case MERLON_F_PKTTYPE:
	case MERLON_F_ETHER_SADDR_HIGH:
	case MERLON_F_ETHER_SADDR_LOW:
		return MERLON_ASKS_HEADER;
	default:
		return 0;
	}
}

static unsigned asks_of_rule(const struct merlon_rule *rule)
{
	unsigned asks = 0;
	size_t i, j;

	for (i = 0; i < rule->n; i++) {
		const struct merlon_statement *s = &rule->statement[i];

		if (s->kind == MERLON_S_MATCH)
			asks |= asks_by_field(s->match.field);
		for (j = 0; s->kind == MERLON_S_LOOKUP && j < s->lookup->n_parts; j++)
			asks |= asks_by_field(s->lookup->part[j].field);
		/* A part of the mark that a rule leaves alone goes on. */
		if (s->kind == MERLON_S_MARK && s->mark.mask)
			asks |= MERLON_ASKS_MARK;
	}
	return asks;
}

static unsigned asks_of(const struct merlon_ruleset *policy, bool partial)
{
	bool denies_output = false, state_in_output = false;
	unsigned asks = 0;
	size_t i, j;

	for (i = 0; policy && i < policy->n_chains; i++) {
		const struct merlon_chain *chain = &policy->chain[i];

		if (!chain->reached)
			continue;
		if (chain->base && chain->hook == MERLON_FORWARD)
			asks |= MERLON_ASKS_FORWARD;
		denies_output |= chain->base && chain->hook == MERLON_OUTPUT && merlon_chain_may_deny(chain);
		for (j = 0; j < chain->n; j++) {
			unsigned of_rule = asks_of_rule(&chain->rule[j]);

			asks |= of_rule;
			state_in_output |= chain->in_output && of_rule & MERLON_ASKS_STATE;
		}
	}
	if (partial && asks & MERLON_ASKS_FORWARD && asks & MERLON_ASKS_STATE)
		asks |= MERLON_ASKS_BEGINNING;
	return denies_output && state_in_output ? asks | MERLON_ASKS_BEGINNING : asks;
}

static bool is_partial(const struct merlon_host_view *view, const struct merlon_links *links)
{
	size_t i;

	for (i = 0; i < links->n; i++)
		if (!merlon_host_filters(view, links->link[i].name))
			return true;
	return false;
}

int merlon_host_check(const struct merlon_host_options *options, struct merlon_host *ret)
{
	struct merlon_host_view view = { .host = ret, .options = options };
	struct merlon_links links = { 0 };
	int r;

	*ret = (struct merlon_host){ 0 };
	r = merlon_links_list(&links);
	if (r < 0)
		r = merlon_finding_unseen(&view, "interfaces", r);
	view.partial = is_partial(&view, &links);
	view.asks = asks_of(options->policy, view.partial);
	if (r == 0)
		r = merlon_host_own(&view);
	if (r == 0)
		r = merlon_host_netfilter(&view);
	if (r == 0)
		r = merlon_host_links(&view, &links);
	if (r == 0)
		r = merlon_host_filters_of_tc(&view, &links);
	if (r == 0)
		r = merlon_host_routing(&view, &links);
	if (r == 0)
		r = merlon_host_forwarding(&view, &links);
	if (r == 0)
		r = merlon_host_multicast(&view);
	if (r == 0)
		r = merlon_host_multipath(&view, &links);
	if (r == 0)
		r = merlon_host_xfrm(&view);
	if (r == 0)
		r = merlon_host_encap(&view);
	if (r == 0)
		r = merlon_host_ipvs(&view);
	if (r == 0)
		r = merlon_host_services(&view);
	free(links.link);
	if (r < 0)
		merlon_host_clear(ret);
	return r;
}

int merlon_host_check_policy(const struct merlon_ruleset *policy, bool live, struct merlon_host *ret)
{
	const struct merlon_host_options options = { .policy = policy };
	struct merlon_host_view view = { .host = ret, .options = &options, .asks = asks_of(policy, false) };
	int r;

	*ret = (struct merlon_host){ 0 };
	r = merlon_host_own(&view);
	if (r == 0 && !live)
		r = merlon_host_unloaded(&view, NULL);
	if (r < 0)
		merlon_host_clear(ret);
	return r;
}

int merlon_host_is_filtered(void)
{
	const struct merlon_host_options options = { 0 };
	struct merlon_host host = { 0 };
	struct merlon_host_view view = { .host = &host, .options = &options };
	int r = merlon_host_netfilter(&view);
	size_t i;

	for (i = 0; r == 0 && i < host.n; i++)
		if (!strcmp(host.finding[i].what, "filters"))
			r = 1;
		else if (!strcmp(host.finding[i].what, "unseen"))
			r = -EIO;
	merlon_host_clear(&host);
	return r;
}

void merlon_host_clear(struct merlon_host *host)
{
	size_t i;

	for (i = 0; i < host->n; i++)
		free(host->finding[i].where);
	free(host->finding);
	*host = (struct merlon_host){ 0 };
}

bool merlon_host_refuses(const struct merlon_host *host)
{
	return host->n && host->finding[0].severity == MERLON_HOST_REFUSE;
}

static const char *const severity_name[] = { "refuse", "warn", "note" };

json_t *merlon_host_json(const struct merlon_host *host)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; list && i < host->n; i++) {
		const struct merlon_finding *f = &host->finding[i];
		/* Names of tables and chains are bytes of the user's. */
		json_t *where = json_string(f->where);

		json_t *one = json_pack("{s:s, s:s, s:o, s:s, s:s?, s:s?}", "what", f->what,
					"severity", severity_name[f->severity],
					"where", where ? where : json_string("(not in UTF-8)"),
					"why", f->why, "cure", f->cure, "rule", f->rule);

		if (f->place.file)
			json_object_set_new(one, "file", json_string(f->place.file));
		if (f->place.file && f->place.line)
			json_object_set_new(one, "line", json_integer(f->place.line));
		json_array_append_new(list, one);
	}
	return list;
}

void merlon_host_print(const json_t *list, FILE *out)
{
	const json_t *f;
	size_t i;

	if (!json_array_size(list))
		fputs("host: nothing that would be judged wrong\n", out);
	json_array_foreach(list, i, f) {
		const char *cure = json_string_value(json_object_get(f, "cure"));
		const char *rule = json_string_value(json_object_get(f, "rule"));
		const char *file = json_string_value(json_object_get(f, "file"));
		int line = json_integer_value(json_object_get(f, "line"));

		if (file && line)
			fprintf(out, "%s:%d: ", file, line);
		else if (file)
			fprintf(out, "%s: ", file);
		fprintf(out, "%s%s: %s: %s\n  %s", file ? "" : "host: ", json_string_value(json_object_get(f, "severity")),
			json_string_value(json_object_get(f, "what")), json_string_value(json_object_get(f, "where")),
			json_string_value(json_object_get(f, "why")));
		if (rule)
			fprintf(out, " (%s)", rule);
		fputc('\n', out);
		if (cure)
			fprintf(out, "  %s\n", cure);
	}
}

void merlon_host_explain(const struct merlon_host *host, bool forgiven, struct merlon_diag *diag)
{
	size_t i;

	for (i = 0; i < host->n && host->finding[i].severity != MERLON_HOST_NOTE; i++) {
		const struct merlon_finding *f = &host->finding[i];
		bool error = f->severity == MERLON_HOST_REFUSE && !forgiven;

		merlon_diag_add(diag, error ? MERLON_ERROR : MERLON_WARNING, f->place, "%s: %s", f->where, f->why);
		if (f->cure)
			merlon_diag_cure(diag, "%s", f->cure);
	}
}

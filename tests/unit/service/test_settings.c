/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/service/settings.h"

#define MOST 8

static char dir[] = "/tmp/merlon-settings-XXXXXX", config[64];

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void write_drop_in(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s.d/%s", config, name);
	write_file(path, text);
}

static int read_with(struct merlon_settings *s, struct merlon_diag *diag, const char *first, const char *second)
{
	char *argv[MOST] = { (char *)"merlond", (char *)"--config", config, (char *)first, (char *)second };
	int argc = 3 + !!first + !!second;

	return merlon_settings_read(s, argc, argv, diag);
}

static const struct merlon_setting *setting(const struct merlon_settings *s, const char *key)
{
	for (size_t i = 0; i < s->n_settings; i++)
		if (!strcmp(s->setting[i].key, key))
			return &s->setting[i];
	return NULL;
}

static void assert_setting(const struct merlon_settings *s, const char *key, const char *value, const char *from)
{
	const struct merlon_setting *found = setting(s, key);

	assert_non_null(found);
	assert_string_equal(found->value, value);
	assert_string_equal(found->from, from);
}

static int fresh(void **state)
{
	char path[128];

	(void)state;
	write_file(config, "");
	snprintf(path, sizeof(path), "rm -f %s.d/*", config);
	return system(path);
}

static void defaults(void **state)
{
	struct merlon_settings s;
	struct merlon_diag diag = { 0 };

	(void)state;
	assert_int_equal(read_with(&s, &diag, NULL, NULL), 0);
	assert_int_equal(diag.n, 0);
	assert_setting(&s, "Interfaces", "*", "default");
	assert_setting(&s, "Attach", "auto", "default");
	assert_int_equal(s.attach, MERLON_ATTACH_AUTO);
	assert_setting(&s, "Ruleset", MERLON_SYSCONFDIR "/ruleset.nft", "default");
	assert_setting(&s, "Mode", "enforce", "default");
	assert_setting(&s, "OnFailure", "open", "default");
	assert_setting(&s, "OnStop", "detach", "default");
	assert_setting(&s, "PolicyNetns", "/run/netns/merlon", "default");
	assert_string_equal(s.socket, "/run/merlon/merlon.sock");
	assert_string_equal(s.state_dir, "/run/merlon");
	assert_int_equal(s.max_sessions, 262144);
	assert_int_equal(s.log_rate, 20);
	assert_int_equal(s.log_burst, 200);
	assert_false(s.audit || s.fail_closed || s.stop_keeps);
	merlon_settings_clear(&s);
}

static void the_last_word_counts(void **state)
{
	struct merlon_settings s;
	struct merlon_diag diag = { 0 };
	char from[160];

	(void)state;
	write_file(config, "[Network]\nInterfaces=eth*\n[Policy]\nMode=audit\nOnStop=keep\n[timeouts]\nudp=40s\n");
	write_drop_in("20-later.conf", "[Network]\nInterfaces=eth2\n[Policy]\nOnFailure=closed\n");
	write_drop_in("10-sooner.conf", "# no\n\n[Network]\nInterfaces=eth1\n[Log]\nRate=0\n");
	write_drop_in("30-no.conf.bak", "[Network]\nInterfaces=eth3\n");
	assert_int_equal(read_with(&s, &diag, NULL, NULL), 0);
	snprintf(from, sizeof(from), "%s.d/20-later.conf:2", config);
	assert_setting(&s, "Interfaces", "eth2", from);
	snprintf(from, sizeof(from), "%s:4", config);
	assert_setting(&s, "Mode", "audit", from);
	snprintf(from, sizeof(from), "%s:7", config);
	assert_setting(&s, "udp", "40s", from);
	snprintf(from, sizeof(from), "%s.d/10-sooner.conf:6", config);
	assert_setting(&s, "Rate", "0", from);
	assert_true(s.audit && s.fail_closed && s.stop_keeps);
	assert_int_equal(s.log_rate, 0);
	merlon_settings_clear(&s);
	assert_int_equal(read_with(&s, &diag, "--interfaces", "lo"), 0);
	assert_setting(&s, "Interfaces", "lo", "the command line");
	assert_true(merlon_ifpattern_match(s.pattern, "lo"));
	assert_false(merlon_ifpattern_match(s.pattern, "eth2"));
	merlon_settings_clear(&s);
	assert_int_equal(diag.n, 0);
}

static void assert_refused(const char *text, unsigned line)
{
	struct merlon_settings s;
	struct merlon_diag diag = { 0 };

	write_file(config, text);
	assert_int_equal(read_with(&s, &diag, NULL, NULL), -EINVAL);
	assert_int_equal(diag.n, 1);
	assert_int_equal(diag.message[0].severity, MERLON_ERROR);
	assert_non_null(strstr(diag.message[0].file, config));
	assert_int_equal(diag.message[0].line, line);
	merlon_diag_clear(&diag);
}

static void wrong_values(void **state)
{
	(void)state;
	assert_refused("[Policy]\nMode=off\n", 2);
	assert_refused("[Policy]\nOnFailure=Closed\n", 2);
	assert_refused("[Policy]\n\nOnStop=\n", 3);
	assert_refused("[Policy]\nRuleset=ruleset.nft\n", 2);
	assert_refused("[Policy]\nClosedRuleset=./closed.nft\n", 2);
	assert_refused("[Sessions]\nMax=63\n", 2);
	assert_refused("[Log]\nRate=-1\n", 2);
	assert_refused("[Log]\nBurst=0\n", 2);
	assert_refused("[Network]\nPolicyNetns=merlon\n", 2);
	assert_refused("[Network]\n\nAttach=xdp\n", 3);
	assert_refused("[Network]\nAttach=\n", 2);
	assert_refused("[timeouts]\nudp=soon\n", 2);
	assert_refused("Mode=audit\n", 1);
}

static void ways_to_attach(void **state)
{
	static const struct {
		const char *text;
		enum merlon_attach attach;
	} sample[] = {
		{ "[Network]\nAttach=clsact\n", MERLON_ATTACH_CLSACT },
		{ "[Network]\nAttach=tcx\n", MERLON_ATTACH_TCX },
		{ "[Network]\nAttach=tcx\nAttach=auto\n", MERLON_ATTACH_AUTO },
	};
	struct merlon_diag diag = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(sample) / sizeof(sample[0]); i++) {
		struct merlon_settings s;

		write_file(config, sample[i].text);
		assert_int_equal(read_with(&s, &diag, NULL, NULL), 0);
		assert_int_equal(s.attach, sample[i].attach);
		merlon_settings_clear(&s);
	}
	assert_int_equal(diag.n, 0);
}

static void unknown_ones_warn(void **state)
{
	struct merlon_settings s;
	struct merlon_diag diag = { 0 };

	(void)state;
	write_file(config, "[Policy]\nModus=audit\n[Else]\nKey=1\n");
	assert_int_equal(read_with(&s, &diag, NULL, NULL), 0);
	assert_int_equal(diag.n, 2);
	assert_int_equal(diag.message[0].severity, MERLON_WARNING);
	assert_int_equal(diag.message[0].line, 2);
	assert_int_equal(diag.message[1].line, 3);
	assert_null(setting(&s, "Modus"));
	merlon_diag_clear(&diag);
	merlon_settings_clear(&s);
}

static void an_instance_has_places_of_its_own(void **state)
{
	struct merlon_settings s;
	struct merlon_diag diag = { 0 };

	(void)state;
	assert_int_equal(read_with(&s, &diag, "--instance", "blue"), 0);
	assert_string_equal(s.socket, "/run/merlon/blue/merlon.sock");
	assert_string_equal(s.pin_dir, "/sys/fs/bpf/merlon-blue");
	assert_string_equal(s.state_dir, "/run/merlon/blue");
	assert_string_equal(s.ruleset, MERLON_SYSCONFDIR "/blue.nft");
	assert_null(s.policy_netns);
	merlon_settings_clear(&s);
	assert_int_equal(read_with(&s, &diag, "--instance", "../x"), -EINVAL);
	assert_int_equal(diag.n, 1);
	merlon_diag_clear(&diag);
}

static void read_again(void **state)
{
	char *argv[] = { (char *)"merlond", (char *)"--config", config };
	struct merlon_settings s;
	struct merlon_diag diag = { 0 };
	char *socket;

	(void)state;
	assert_int_equal(merlon_settings_read(&s, 3, argv, &diag), 0);
	socket = s.socket;
	write_file(config, "[Network]\nInterfaces=eth7\nPolicyNetns=none\n");
	assert_int_equal(merlon_settings_reread(&s, 3, argv, &diag), 0);
	assert_string_equal(s.interfaces, "eth7");
	assert_ptr_equal(s.socket, socket);
	assert_string_equal(s.policy_netns, "/run/netns/merlon");
	assert_int_equal(diag.n, 1);
	merlon_diag_clear(&diag);
	write_file(config, "[Network]\nInterfaces=\n");
	assert_true(merlon_settings_reread(&s, 3, argv, &diag) < 0);
	assert_string_equal(s.interfaces, "eth7");
	merlon_diag_clear(&diag);
	merlon_settings_clear(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults, fresh),
		cmocka_unit_test_setup(the_last_word_counts, fresh),
		cmocka_unit_test_setup(wrong_values, fresh),
		cmocka_unit_test_setup(ways_to_attach, fresh),
		cmocka_unit_test_setup(unknown_ones_warn, fresh),
		cmocka_unit_test_setup(an_instance_has_places_of_its_own, fresh),
		cmocka_unit_test_setup(read_again, fresh),
	};
	char path[128];
	int r;

	if (!mkdtemp(dir))
		return 1;
	snprintf(config, sizeof(config), "%s/merlon.conf", dir);
	snprintf(path, sizeof(path), "%s.d", config);
	if (mkdir(path, 0700) < 0)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(path, sizeof(path), "rm -r %s", dir);
	return system(path) ? 1 : r;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/util/ini.h"

static char got[256];

static int take(void *context, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	(void)context;
	if (!strcmp(value, "bad")) {
		merlon_diag_add(diag, MERLON_ERROR, place, "bad value");
		return -EINVAL;
	}
	snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s@%u;", value, place.line);
	return 0;
}

static int take_any(void *context, const char *key, const char *value, struct merlon_place place, struct merlon_diag *diag)
{
	if (!strcmp(key, "None"))
		return 1;
	snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s:", key);
	return take(context, value, place, diag);
}

static const struct merlon_ini_key keys[] = {
	{ "One", "Key", take, NULL }, { "Two", "Key", take, NULL }, { "Any", "Key", take, NULL }, { "Any", NULL, NULL, take_any },
	{ NULL, NULL, NULL, NULL },
};

static int read_bytes(const char *text, size_t bytes, struct merlon_diag *diag)
{
	char path[] = "/tmp/merlon-ini-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, bytes), bytes);
	close(fd);
	got[0] = 0;
	r = merlon_ini_read(path, keys, NULL, NULL, diag);
	unlink(path);
	return r;
}

static int read_text(const char *text, struct merlon_diag *diag)
{
	return read_bytes(text, strlen(text), diag);
}

static void test_values(void **state)
{
	struct merlon_diag diag = { 0 };

	(void)state;
	assert_int_equal(read_text("# c\n; c\n\n [One] \n Key = a b \nKey=\n[Two]\r\nKey=x=y\r\n", &diag), 0);
	assert_string_equal(got, "a b@5;@6;x=y@8;");
	assert_int_equal(diag.n, 0);
	assert_int_equal(read_text("[One]\nKey=last line has no end", &diag), 0);
	assert_string_equal(got, "last line has no end@2;");
}

static void test_any_key(void **state)
{
	struct merlon_diag diag = { 0 };

	(void)state;
	assert_int_equal(read_text("[Any]\nKey=a\nOther=b\n[One]\nOther=c\n", &diag), 0);
	assert_string_equal(got, "a@2;Other:b@3;");
	assert_int_equal(diag.n, 1);
	merlon_diag_clear(&diag);
	assert_int_equal(read_text("[Any]\nNone=a\n", &diag), 0);
	assert_int_equal(diag.n, 1);
	assert_int_equal(diag.message[0].line, 2);
	merlon_diag_clear(&diag);
	assert_int_equal(read_text("[Any]\nOther=bad\n", &diag), -EINVAL);
	merlon_diag_clear(&diag);
}

static void test_unknown(void **state)
{
	struct merlon_diag diag = { 0 };

	(void)state;
	assert_int_equal(read_text("[One]\nOther=1\n[Three]\nKey=1\n", &diag), 0);
	assert_int_equal(diag.n, 2);
	assert_int_equal(diag.message[0].severity, MERLON_WARNING);
	assert_int_equal(diag.message[0].line, 2);
	assert_int_equal(diag.message[1].line, 3);
	merlon_diag_clear(&diag);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text;
		unsigned line;
	} bad[] = {
		{ "[One]\nKey=good\nKey=bad\n", 3 }, { "Key=1\n", 1 }, { "[One\n", 1 }, { "[]\n", 1 }, { "[One]\nKey\n", 2 },
		{ "[One]\n=1\n", 2 },
	};
	struct merlon_diag diag = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(read_text(bad[i].text, &diag), -EINVAL);
		assert_int_equal(diag.n, 1);
		assert_int_equal(diag.message[0].severity, MERLON_ERROR);
		assert_int_equal(diag.message[0].line, bad[i].line);
		merlon_diag_clear(&diag);
	}
	/* what is behind a NUL may be what was meant: no line of it counts */
	assert_int_equal(read_bytes("[One]\n\0Key=b\nKey=c\0d\n", 20, &diag), -EINVAL);
	assert_string_equal(got, "");
	assert_int_equal(diag.n, 2);
	assert_int_equal(diag.message[0].line, 2);
	assert_int_equal(diag.message[1].line, 3);
	merlon_diag_clear(&diag);
	assert_int_equal(merlon_ini_read("/nonexistent/merlon.conf", keys, NULL, NULL, &diag), -ENOENT);
	assert_int_equal(diag.n, 1);
	merlon_diag_clear(&diag);
}

static void refuses(const char *path, int error)
{
	struct merlon_diag diag = { 0 };

	assert_int_equal(merlon_ini_read(path, keys, NULL, NULL, &diag), error);
	assert_int_equal(diag.n, 1);
	assert_string_equal(diag.message[0].file, path);
	assert_int_equal(!diag.message[0].cure, error != -EINVAL);
	merlon_diag_clear(&diag);
}

/* Nobody writes to the pipe, and the device has no end. */
static void test_no_files(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/merlon-ini-XXXXXX", path[64];
	struct merlon_diag diag = { 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/pipe", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	refuses(path, -EINVAL);
	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	refuses(address.sun_path, -EINVAL);
	unlink(address.sun_path);
	close(fd);
	refuses("/dev/zero", -EINVAL);
	refuses(dir, -EISDIR);
	/* that is how a drop-in is masked */
	snprintf(path, sizeof(path), "%s/masked.conf", dir);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(merlon_ini_read(path, keys, NULL, NULL, &diag), 0);
	assert_int_equal(diag.n, 0);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values), cmocka_unit_test(test_any_key), cmocka_unit_test(test_unknown), cmocka_unit_test(test_refused), cmocka_unit_test(test_no_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

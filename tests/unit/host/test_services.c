/* SPDX-License-Identifier: GPL-2.0-or-later */
/* systemd's manager, played by a child at the other end of a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "src/host/internal.h"

struct unit {
	const char *name, *load, *active;
};

static int append(sd_bus_message *reply, const struct unit *unit)
{
	return sd_bus_message_append(reply, "(ssssssouso)", unit->name, "", unit->load, unit->active, "", "", "/u", 0, "", "/j");
}

static int list_units(sd_bus_message *call, void *context, sd_bus_error *error)
{
	const struct unit *unit = context;
	sd_bus_message *reply = NULL;
	int r = sd_bus_message_new_method_return(call, &reply);

	(void)error;
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(ssssssouso)");
	for (; r >= 0 && unit->name; unit++)
		r = append(reply, unit);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r;
}

static const sd_bus_vtable manager[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("ListUnitsByNames", "as", "a(ssssssouso)", list_units, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

/* Serves until the other end closes. */
static void serve(int fd, const struct unit *units)
{
	sd_bus *bus = NULL;
	sd_id128_t id = { .bytes = { 1 } };
	int r = sd_bus_new(&bus);

	if (r >= 0)
		r = sd_bus_set_fd(bus, fd, fd);
	if (r >= 0)
		r = sd_bus_set_server(bus, 1, id);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
					     manager, (void *)units);
	while (r >= 0) {
		r = sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, UINT64_MAX);
	}
	sd_bus_close_unref(bus);
	_exit(0);
}

/* A bus with a manager behind it that has these units. */
static sd_bus *connect_to(const struct unit *units, pid_t *ret_pid)
{
	sd_bus *bus = NULL;
	int pair[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		serve(pair[1], units);
	}
	close(pair[1]);
	assert_true(sd_bus_new(&bus) >= 0);
	assert_true(sd_bus_set_fd(bus, pair[0], pair[0]) >= 0);
	assert_true(sd_bus_start(bus) >= 0);
	*ret_pid = pid;
	return bus;
}

static int ask(const struct unit *units, struct merlon_host *ret)
{
	const struct merlon_host_options options = { 0 };
	struct merlon_host_view view = { .host = ret, .options = &options };
	pid_t pid;
	sd_bus *bus = connect_to(units, &pid);
	int r = merlon_services_ask(&view, bus, NULL);

	sd_bus_close_unref(bus);
	waitpid(pid, NULL, 0);
	return r;
}

static void test_active_ones(void **state)
{
	const struct unit units[] = {
		{ "ufw.service", "loaded", "active" }, { "firewalld.service", "not-found", "inactive" },
		{ "nftables.service", "loaded", "inactive" }, { "docker.service", "loaded", "activating" },
		{ "fail2ban.service", "masked", "active" }, { NULL, NULL, NULL },
	};
	struct merlon_host host = { 0 };

	(void)state;
	assert_int_equal(ask(units, &host), 0);
	assert_int_equal(host.n, 2);
	assert_string_equal(host.finding[0].where, "ufw: ufw.service is active");
	assert_string_equal(host.finding[1].where, "docker: docker.service is activating");
	assert_non_null(strstr(host.finding[1].cure, "daemon.json"));
	assert_false(merlon_host_refuses(&host));
	merlon_host_clear(&host);
}

/* Whose rules were found already is not named twice. */
static void test_once(void **state)
{
	const struct unit units[] = { { "ufw.service", "loaded", "active" }, { NULL, NULL, NULL } };
	const struct merlon_host_options options = { 0 };
	struct merlon_host host = { 0 };
	struct merlon_host_view view = { .host = &host, .options = &options };

	(void)state;
	merlon_finding_add(&view, &(struct merlon_finding){ .what = "service", .why = "-" }, "ufw: chain %s", "ufw-before-input");
	assert_int_equal(ask(units, &host), 0);
	assert_int_equal(host.n, 1);
	merlon_host_clear(&host);
}

/* Firewalls that are installed and do not run; no other programs, which have rules only as they need them. */
static void test_idle_ones(void **state)
{
	const struct unit units[] = {
		{ "ufw.service", "masked", "inactive" }, { "firewalld.service", "not-found", "inactive" },
		{ "nftables.service", "loaded", "inactive" }, { "docker.service", "loaded", "inactive" },
		{ "iptables.service", "loaded", "failed" }, { "netfilter-persistent.service", "loaded", "active" }, { NULL, NULL, NULL },
	};
	const struct unit *none = &units[6];
	pid_t pid;
	sd_bus *bus = connect_to(units, &pid);
	char *idle = merlon_services_idle(bus, NULL);

	(void)state;
	assert_string_equal(idle, "ufw.service, nftables.service, iptables.service");
	free(idle);
	sd_bus_close_unref(bus);
	waitpid(pid, NULL, 0);
	bus = connect_to(none, &pid);
	assert_null(merlon_services_idle(bus, NULL));
	sd_bus_close_unref(bus);
	waitpid(pid, NULL, 0);
}

static void test_order_and_words(void **state)
{
	const struct merlon_host_options options = { .unseen_refuses = true };
	struct merlon_host host = { 0 };
	struct merlon_host_view view = { .host = &host, .options = &options };
	struct merlon_diag diag = { 0 };
	json_t *list;

	(void)state;
	merlon_finding_add(&view, &(struct merlon_finding){ .what = "a", .why = "w", .severity = MERLON_HOST_NOTE }, "n");
	merlon_finding_add(&view, &(struct merlon_finding){ .what = "b", .why = "w", .severity = MERLON_HOST_WARN }, "bad \xff");
	assert_false(merlon_host_refuses(&host));
	assert_int_equal(merlon_finding_unseen(&view, "rules", -EPERM), 0);
	assert_true(merlon_host_refuses(&host));
	merlon_host_explain(&host, false, &diag);
	merlon_host_explain(&host, true, &diag);
	assert_int_equal(diag.n, 4);
	assert_int_equal(diag.message[0].severity, MERLON_ERROR);
	assert_int_equal(diag.message[2].severity, MERLON_WARNING);
	merlon_diag_clear(&diag);
	/* Names are bytes of the user's. */
	list = merlon_host_json(&host);
	assert_int_equal(json_array_size(list), 3);
	json_decref(list);
	merlon_host_clear(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_active_ones), cmocka_unit_test(test_once), cmocka_unit_test(test_idle_ones),
		cmocka_unit_test(test_order_and_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control protocol: D-Bus, peer to peer over a unix socket (busctl --address=unix:path=... talks to it). Answers
 * that have structure are one JSON string, in the shapes that `merlon --json` prints. merlon-bus(5) says more.
 *
 *   Apply(s request) -> (i code, s report)   request: {"files":[{"file","name"}],"family":"ip"|"ip6"|null,
 *                                            "cwd": where relative includes are looked for, else in "/",
 *                                            "audit":bool,"allow_partial":bool}; code: exit status of `merlon apply`
 *   Status() -> s, Stats() -> s
 *   Perf(s interface) -> s                   what is counted, of which `merlon perf` makes its figures; "": of no interface
 *   Config() -> s                            [{"section","key","value","from"}]
 *   Why(s words) -> s                        words: an array of strings, as `merlon why` takes them
 *   Sessions() -> h                          a file with the list
 *   Monitor() -> h                           a socket to read events from as they come, see src/model/stream.h
 *   Capture() -> h                           the same with the packets; root only
 *   Nft(s request) -> (i code, s report, h output)
 *                                            request: see compat/command.h; code: exit status of `merlon nft`; what is listed
 *                                            may be asked by all that may read
 *   List() -> h                              a file with the policy in force
 *   Flush() -> (i code, s report)            drops the policy
 *   Reload() -> (i code, s report)           reads the settings again; code 1: they are wrong, those before stay
 *   Stop() -> (i code, s report)             detaches, removes the pins, and the daemon leaves
 */
#ifndef MERLON_SERVICE_BUS_H
#define MERLON_SERVICE_BUS_H

#define MERLON_RUN_DIR "/run/merlon"
#define MERLON_BUS_SOCKET MERLON_RUN_DIR "/merlon.sock"
#define MERLON_BUS_PATH "/org/merlon/Control1"
#define MERLON_BUS_INTERFACE "org.merlon.Control1"
#define MERLON_BUS_DENIED "org.merlon.Error.Denied"
#define MERLON_BUS_FAILED "org.merlon.Error.Failed"

enum merlon_exit {
	MERLON_EXIT_DONE,
	MERLON_EXIT_FAILED,
	MERLON_EXIT_USAGE,
	MERLON_EXIT_REFUSED,
	MERLON_EXIT_DIFFERS,
};

#endif

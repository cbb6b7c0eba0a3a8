/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The classic format of libpcap (draft-ietf-opsawg-pcap), in host order. */
#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <string.h>

#include "src/util/cleanup.h"
#include "src/verify/run.h"

#define MAGIC 0xa1b2c3d4U
#define LINKTYPE_ETHERNET 1
#define SNAP 262144

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy, snap, link_type;
};
struct record_header {
	uint32_t s, us, captured, bytes;
};

/* What has no Ethernet header gets one, of zeros: a file has one link type. */
static void write_frame(FILE *f, const struct merlon_segment *segment, const struct merlon_frame *frame, uint32_t number)
{
	bool bare = frame->way == MERLON_FRAME_LOCAL || segment->ground.device[frame->device].tun;
	uint32_t bytes = frame->bytes + (bare ? ETH_HLEN : 0);
	struct record_header head = { number / 1000000, number % 1000000, bytes, bytes };
	uint8_t ethernet[ETH_HLEN] = { 0 };
	uint16_t type = frame->bytes && frame->data[0] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP;

	ethernet[12] = type >> 8;
	ethernet[13] = type & 0xff;
	fwrite(&head, sizeof(head), 1, f);
	if (bare)
		fwrite(ethernet, sizeof(ethernet), 1, f);
	fwrite(frame->data, frame->bytes, 1, f);
}

int merlon_pcap_write(const char *path, const struct merlon_segment *segment, const size_t *index, size_t n)
{
	struct file_header head = { MAGIC, 2, 4, 0, 0, SNAP, LINKTYPE_ETHERNET };
	FILE *f = fopen(path, "we");
	size_t i;
	bool bad;

	if (!f)
		return -errno;
	fwrite(&head, sizeof(head), 1, f);
	for (i = 0; i < n; i++)
		write_frame(f, segment, &segment->frame[index[i]], i);
	bad = ferror(f);
	return fclose(f) || bad ? -EIO : 0;
}

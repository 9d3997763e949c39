/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A PC/SC client for tests: lists readers, waits for events, sends APDUs,
 * measures.
 *
 * Every subcommand speaks of the first reader unless -r names another one by
 * its number or by a part of its name. A PC/SC error is printed by its name and
 * makes the status 1; a wrong use makes it 2. Nothing here polls: `wait` sits in
 * SCardGetStatusChange.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <reader.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <winscard.h>

#define STATUS_ERROR 1
#define STATUS_USAGE 2
/* pcsc-lite answers of 16 readers; the names are 128 bytes at most each. */
#define NAMES_MAX 4096u
#define WAIT_DEFAULT_S 30.0
/*
 * With no reader to watch, pcsc-lite 1.9 does not report a change of the list
 * that came just before the call; so look again now and then.
 */
#define LOOK_AGAIN_S 0.5
#define PNP "\\\\?PnP?\\Notification"

/* The echo test card; see tests/lib. */
#define ECHO_INS 0xEC
#define ECHO_DATA_MAX 65535u
#define ECHO_RESPONSE_MAX 65536u
#define SHORT_DATA_MAX 255u
#define SHORT_RESPONSE_MAX 256u

struct options {
	const char *reader;
	const char *protocol;
	long count;
	long command_size;
	long response_size;
};

struct session {
	SCARDCONTEXT context;
	SCARDHANDLE card;
	DWORD protocol;
	char names[NAMES_MAX];
	const char *reader;
};

struct name {
	const char *name;
	DWORD value;
};

static const struct name attributes[] = {
	{ "ATR_STRING", SCARD_ATTR_ATR_STRING },
	{ "CHANNEL_ID", SCARD_ATTR_CHANNEL_ID },
	{ "CHARACTERISTICS", SCARD_ATTR_CHARACTERISTICS },
	{ "CURRENT_PROTOCOL_TYPE", SCARD_ATTR_CURRENT_PROTOCOL_TYPE },
	{ "DEVICE_FRIENDLY_NAME", SCARD_ATTR_DEVICE_FRIENDLY_NAME },
	{ "DEVICE_SYSTEM_NAME", SCARD_ATTR_DEVICE_SYSTEM_NAME },
	{ "ICC_INTERFACE_STATUS", SCARD_ATTR_ICC_INTERFACE_STATUS },
	{ "ICC_PRESENCE", SCARD_ATTR_ICC_PRESENCE },
	{ "MAXINPUT", SCARD_ATTR_MAXINPUT },
	{ "VENDOR_IFD_SERIAL_NO", SCARD_ATTR_VENDOR_IFD_SERIAL_NO },
	{ "VENDOR_IFD_VERSION", SCARD_ATTR_VENDOR_IFD_VERSION },
	{ "VENDOR_NAME", SCARD_ATTR_VENDOR_NAME },
};

static const struct name states[] = {
	{ "ignore", SCARD_STATE_IGNORE },       { "changed", SCARD_STATE_CHANGED },
	{ "unknown", SCARD_STATE_UNKNOWN },     { "unavailable", SCARD_STATE_UNAVAILABLE },
	{ "empty", SCARD_STATE_EMPTY },         { "present", SCARD_STATE_PRESENT },
	{ "exclusive", SCARD_STATE_EXCLUSIVE }, { "inuse", SCARD_STATE_INUSE },
	{ "mute", SCARD_STATE_MUTE },           { "unpowered", SCARD_STATE_UNPOWERED },
};

#define ERROR_NAME(code)                                                                           \
	{                                                                                          \
#code, (DWORD)code                                                                 \
	}
static const struct name errors[] = {
	ERROR_NAME(SCARD_E_CANCELLED),
	ERROR_NAME(SCARD_E_CARD_UNSUPPORTED),
	ERROR_NAME(SCARD_E_COMM_DATA_LOST),
	ERROR_NAME(SCARD_E_DUPLICATE_READER),
	ERROR_NAME(SCARD_E_INSUFFICIENT_BUFFER),
	ERROR_NAME(SCARD_E_INVALID_ATR),
	ERROR_NAME(SCARD_E_INVALID_HANDLE),
	ERROR_NAME(SCARD_E_INVALID_PARAMETER),
	ERROR_NAME(SCARD_E_INVALID_VALUE),
	ERROR_NAME(SCARD_E_NO_MEMORY),
	ERROR_NAME(SCARD_E_NO_READERS_AVAILABLE),
	ERROR_NAME(SCARD_E_NO_SERVICE),
	ERROR_NAME(SCARD_E_NO_SMARTCARD),
	ERROR_NAME(SCARD_E_NOT_READY),
	ERROR_NAME(SCARD_E_NOT_TRANSACTED),
	ERROR_NAME(SCARD_E_PROTO_MISMATCH),
	ERROR_NAME(SCARD_E_READER_UNAVAILABLE),
	ERROR_NAME(SCARD_E_READER_UNSUPPORTED),
	ERROR_NAME(SCARD_E_SERVICE_STOPPED),
	ERROR_NAME(SCARD_E_SHARING_VIOLATION),
	ERROR_NAME(SCARD_E_SYSTEM_CANCELLED),
	ERROR_NAME(SCARD_E_TIMEOUT),
	ERROR_NAME(SCARD_E_UNKNOWN_CARD),
	ERROR_NAME(SCARD_E_UNKNOWN_READER),
	ERROR_NAME(SCARD_E_UNSUPPORTED_FEATURE),
	ERROR_NAME(SCARD_F_COMM_ERROR),
	ERROR_NAME(SCARD_F_INTERNAL_ERROR),
	ERROR_NAME(SCARD_F_UNKNOWN_ERROR),
	ERROR_NAME(SCARD_W_REMOVED_CARD),
	ERROR_NAME(SCARD_W_RESET_CARD),
	ERROR_NAME(SCARD_W_UNPOWERED_CARD),
	ERROR_NAME(SCARD_W_UNRESPONSIVE_CARD),
	ERROR_NAME(SCARD_W_UNSUPPORTED_CARD),
};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *allocate(size_t size)
{
	void *memory = calloc(1, size ? size : 1);

	if (!memory) {
		fputs("pcsc-tool: no memory\n", stderr);
		exit(STATUS_ERROR);
	}
	return memory;
}

/* Prints which call failed and why; answers the program's status. */
static int failed(const char *call, LONG code)
{
	for (size_t i = 0; i < COUNT(errors); i++) {
		if (errors[i].value != (DWORD)code)
			continue;
		fprintf(stderr, "%s: %s\n", call, errors[i].name);
		return STATUS_ERROR;
	}
	fprintf(stderr, "%s: 0x%08lX\n", call, (unsigned long)code);
	return STATUS_ERROR;
}

static int wrong_use(const char *what)
{
	fprintf(stderr, "pcsc-tool: %s\n", what);
	return STATUS_USAGE;
}

static void print_hex(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02X", bytes[i]);
}

static void print_state(DWORD state)
{
	for (size_t i = 0; i < COUNT(states); i++)
		if (state & states[i].value)
			printf(" %s", states[i].name);
}

/* Reads hexadecimal digits, with colons and spaces allowed. -1 if wrong. */
static ssize_t parse_hex(const char *text, uint8_t *bytes, size_t max)
{
	size_t digits = 0;

	for (; *text; text++) {
		static const char values[] = "0123456789abcdef";
		const char *found = strchr(values, tolower((unsigned char)*text));

		if (*text == ' ' || *text == ':')
			continue;
		if (!found || digits / 2 >= max)
			return -1;
		bytes[digits / 2] = (uint8_t)(bytes[digits / 2] << 4 | (found - values));
		digits++;
	}
	return digits % 2 ? -1 : (ssize_t)(digits / 2);
}

/* Fills in the names of all readers, one after the other, with an empty end. */
static LONG read_names(struct session *session)
{
	DWORD size = NAMES_MAX;
	LONG code = SCardListReaders(session->context, NULL, session->names, &size);

	if (code != SCARD_S_SUCCESS)
		session->names[0] = session->names[1] = '\0';
	return code == SCARD_E_NO_READERS_AVAILABLE ? SCARD_S_SUCCESS : code;
}

static const char *next_name(const char *name)
{
	return name + strlen(name) + 1;
}

/* Points session->reader to the wanted reader's name, or to NULL. */
static void choose_reader(struct session *session, const char *wanted)
{
	char *end = NULL;
	long number = wanted ? strtol(wanted, &end, 10) : 0;
	bool by_number = !wanted || (*wanted && !*end);
	const char *name;

	session->reader = NULL;
	for (name = session->names; *name; name = next_name(name)) {
		if (by_number ? number-- == 0 : strstr(name, wanted) != NULL) {
			session->reader = name;
			return;
		}
	}
}

static LONG refresh(struct session *session, const struct options *options)
{
	LONG code = read_names(session);

	choose_reader(session, options->reader);
	return code;
}

/* Opens a context and finds the reader, if it is there. Answers a status. */
static int open_context(struct session *session, const struct options *options)
{
	LONG code = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &session->context);

	if (code != SCARD_S_SUCCESS)
		return failed("SCardEstablishContext", code);
	code = refresh(session, options);
	return code == SCARD_S_SUCCESS ? 0 : failed("SCardListReaders", code);
}

static int parse_protocol(const char *text, DWORD *protocols)
{
	if (!text || strcmp(text, "any") == 0)
		*protocols = SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1;
	else if (strcmp(text, "T0") == 0)
		*protocols = SCARD_PROTOCOL_T0;
	else if (strcmp(text, "T1") == 0)
		*protocols = SCARD_PROTOCOL_T1;
	else
		return wrong_use("the protocol is T0, T1 or any");
	return 0;
}

/* Opens a context and connects to the reader's card. Answers a status. */
static int open_card(struct session *session, const struct options *options)
{
	DWORD protocols;
	LONG code;
	int status = parse_protocol(options->protocol, &protocols);

	if (status == 0)
		status = open_context(session, options);
	if (status != 0)
		return status;
	if (!session->reader)
		return failed("SCardConnect", SCARD_E_UNKNOWN_READER);
	code = SCardConnect(session->context, session->reader, SCARD_SHARE_SHARED, protocols,
			    &session->card, &session->protocol);
	return code == SCARD_S_SUCCESS ? 0 : failed("SCardConnect", code);
}

static LONG transmit(struct session *session, const uint8_t *command, size_t size,
		     uint8_t *response, DWORD *response_size)
{
	SCARD_IO_REQUEST header = { session->protocol, sizeof header };

	*response_size = MAX_BUFFER_SIZE_EXTENDED;
	return SCardTransmit(session->card, &header, command, size, NULL, response, response_size);
}

static int do_list(struct session *session, const struct options *options, int argc, char **argv)
{
	int status = open_context(session, options), number = 0;
	const char *name;

	(void)argc;
	(void)argv;
	for (name = session->names; status == 0 && *name; name = next_name(name)) {
		SCARD_READERSTATE state = { .szReader = name };
		LONG code = SCardGetStatusChange(session->context, 0, &state, 1);

		if (code != SCARD_S_SUCCESS)
			status = failed("SCardGetStatusChange", code);
		printf("%d: %s\n   state:", number++, name);
		print_state(state.dwEventState & (DWORD)~SCARD_STATE_CHANGED);
		printf("\n   ATR: ");
		print_hex(state.rgbAtr, state.cbAtr);
		putchar('\n');
	}
	if (status == 0 && number == 0)
		puts("no readers");
	return status;
}

/* Answers whether what `wait` waits for is so, given what is known. */
static bool reached(const char *event, const char *reader, DWORD state)
{
	if (strcmp(event, "reader") == 0)
		return reader != NULL;
	if (strcmp(event, "no-reader") == 0)
		return reader == NULL;
	if (strcmp(event, "inserted") == 0)
		return reader && (state & SCARD_STATE_PRESENT) && !(state & SCARD_STATE_MUTE);
	return !reader || !(state & SCARD_STATE_PRESENT);
}

static void print_event(const struct session *session, const SCARD_READERSTATE *watched,
			double seconds)
{
	printf("%8.3f", seconds);
	if (watched[0].dwEventState & SCARD_STATE_CHANGED)
		printf(" readers-changed");
	if (session->reader) {
		printf(" %s:", session->reader);
		print_state(watched[1].dwEventState);
	}
	putchar('\n');
	fflush(stdout);
}

/* Waits for one change of a reader or of their list; prints it. */
static LONG next_event(struct session *session, SCARD_READERSTATE *watched, double start,
		       double end)
{
	DWORD count = session->reader ? 2 : 1;
	double left = end > now() ? end - now() : 0;
	bool last = session->reader || left <= LOOK_AGAIN_S;
	LONG code;

	code = SCardGetStatusChange(session->context, (DWORD)((last ? left : LOOK_AGAIN_S) * 1000),
				    watched, count);
	if (code == SCARD_E_TIMEOUT && !last)
		return SCARD_S_SUCCESS;
	if (code == SCARD_E_UNKNOWN_READER)
		watched[1].dwEventState = SCARD_STATE_UNKNOWN;
	else if (code != SCARD_S_SUCCESS)
		return code;
	print_event(session, watched, now() - start);
	for (DWORD i = 0; i < count; i++)
		watched[i].dwCurrentState = watched[i].dwEventState & (DWORD)~SCARD_STATE_CHANGED;
	return SCARD_S_SUCCESS;
}

/*
 * Says whether the reader's state is known well enough to judge: after one look
 * at it, or if all that matters is whether it is there.
 */
static bool judged(const char *event, const char *reader, DWORD state)
{
	return !reader || state != SCARD_STATE_UNAWARE || strcmp(event, "reader") == 0;
}

/* Prints events until the one that is waited for. Answers a status. */
static int wait_for(struct session *session, const struct options *options, const char *event,
		    double seconds)
{
	SCARD_READERSTATE watched[2] = { { .szReader = PNP }, { 0 } };
	double start = now(), end = start + seconds;
	char last[MAX_READERNAME + 1] = "";
	LONG code;

	for (;;) {
		code = refresh(session, options);
		if (code != SCARD_S_SUCCESS)
			return failed("SCardListReaders", code);
		if (!session->reader || strcmp(session->reader, last) != 0)
			watched[1].dwCurrentState = SCARD_STATE_UNAWARE;
		snprintf(last, sizeof last, "%s", session->reader ? session->reader : "");
		watched[1].szReader = session->reader;
		if (judged(event, session->reader, watched[1].dwCurrentState) &&
		    reached(event, session->reader, watched[1].dwCurrentState))
			break;
		code = next_event(session, watched, start, end);
		if (code != SCARD_S_SUCCESS)
			return failed("SCardGetStatusChange", code);
	}
	printf("%s after %.3f s\n", event, now() - start);
	return 0;
}

static int do_wait(struct session *session, const struct options *options, int argc, char **argv)
{
	static const char *const events[] = { "inserted", "removed", "reader", "no-reader" };
	double seconds = argc > 1 ? atof(argv[1]) : WAIT_DEFAULT_S;
	int status;

	for (size_t i = 0; argc > 0 && i < COUNT(events); i++) {
		if (strcmp(argv[0], events[i]) != 0)
			continue;
		status = open_context(session, options);
		return status ? status : wait_for(session, options, events[i], seconds);
	}
	return wrong_use("wait inserted|removed|reader|no-reader [SECONDS]");
}

/* Sends one command and prints the answer and the time it took. */
static int send_one(struct session *session, const char *text)
{
	size_t max = MAX_BUFFER_SIZE_EXTENDED;
	uint8_t *command = allocate(max), *response = allocate(max);
	ssize_t size = parse_hex(text, command, max);
	double start = now();
	DWORD answered;
	int status = 0;

	if (size < 0) {
		status = wrong_use("a command is an even number of hex digits");
	} else {
		LONG code = transmit(session, command, (size_t)size, response, &answered);

		if (code != SCARD_S_SUCCESS) {
			status = failed("SCardTransmit", code);
		} else {
			print_hex(response, answered);
			printf(" %.1f ms\n", (now() - start) * 1e3);
		}
	}
	free(command);
	free(response);
	return status;
}

/* The connection to the card is kept meanwhile. */
static int wait_for_line(void)
{
	int c = getchar();

	while (c != '\n' && c != EOF)
		c = getchar();
	return c == '\n' ? 0 : wrong_use("the input ended");
}

/* Resets the card and keeps the connection. Prints what the card is then. */
static int reset_card(struct session *session, const struct options *options)
{
	uint8_t atr[MAX_ATR_SIZE];
	DWORD size = sizeof atr, protocols;
	double start = now();
	LONG code;

	if (parse_protocol(options->protocol, &protocols) != 0)
		return STATUS_USAGE;
	code = SCardReconnect(session->card, SCARD_SHARE_SHARED, protocols, SCARD_RESET_CARD,
			      &session->protocol);
	if (code != SCARD_S_SUCCESS)
		return failed("SCardReconnect", code);
	code = SCardStatus(session->card, NULL, NULL, NULL, NULL, atr, &size);
	if (code != SCARD_S_SUCCESS)
		return failed("SCardStatus", code);
	print_hex(atr, size);
	printf(" T=%d %.1f ms\n", session->protocol == SCARD_PROTOCOL_T1, (now() - start) * 1e3);
	return 0;
}

static int do_word(struct session *session, const struct options *options, const char *word)
{
	if (strcmp(word, "-") == 0)
		return wait_for_line();
	if (strcmp(word, "reset") == 0)
		return reset_card(session, options);
	return send_one(session, word);
}

static int do_apdu(struct session *session, const struct options *options, int argc, char **argv)
{
	int status;

	if (argc < 1)
		return wrong_use("apdu [-p T0|T1|any] HEX|-|reset... "
				 "(-: waits for a line of input)");
	status = open_card(session, options);
	for (int i = 0; status == 0 && i < argc; i++) {
		status = do_word(session, options, argv[i]);
		fflush(stdout);
	}
	return status;
}

/*
 * Writes the echo command for the sizes asked for, the shortest form of ISO/IEC
 * 7816-4, 5.1 that holds them, also under T=0: the card cannot know without Le
 * how much is wanted. Answers its size.
 */
static size_t echo_command(const struct options *options, uint16_t number, uint8_t *command)
{
	size_t data = (size_t)options->command_size;
	size_t answer = (size_t)options->response_size;
	bool extended = data > SHORT_DATA_MAX || answer > SHORT_RESPONSE_MAX;
	size_t size = 4;

	memcpy(command, (const uint8_t[]){ 0, ECHO_INS, (uint8_t)(number >> 8), (uint8_t)number },
	       4);
	if (extended)
		command[size++] = 0;
	if (data > 0) {
		if (extended)
			command[size++] = (uint8_t)(data >> 8);
		command[size++] = (uint8_t)data;
		for (size_t i = 0; i < data; i++)
			command[size++] = (uint8_t)(i * 3 + number);
	}
	if (answer > 0) {
		if (extended)
			command[size++] = (uint8_t)(answer >> 8);
		command[size++] = (uint8_t)answer;
	}
	return size;
}

static uint8_t echo_seed(const struct options *options, uint16_t number)
{
	size_t sum = 0;

	for (size_t i = 0; i < (size_t)options->command_size; i++)
		sum += (uint8_t)(i * 3 + number);
	return (uint8_t)(number ^ sum);
}

/* Says whether the answer is the expected one; prints the first difference. */
static bool echo_right(const struct options *options, uint16_t number, const uint8_t *response,
		       size_t size)
{
	size_t expected = (size_t)options->response_size;
	uint8_t seed = echo_seed(options, number);

	if (size != expected + 2 || response[expected] != 0x90 || response[expected + 1] != 0x00) {
		fprintf(stderr, "echo %u: %zu bytes, ending in ", number, size);
		for (size_t i = size > 2 ? size - 2 : 0; i < size; i++)
			fprintf(stderr, "%02X", response[i]);
		fprintf(stderr, ", in place of %zu and 9000\n", expected + 2);
		return false;
	}
	for (size_t i = 0; i < expected; i++) {
		uint8_t right = (uint8_t)(seed + i * 7 + i / 251);

		if (response[i] == right)
			continue;
		fprintf(stderr, "echo %u: byte %zu is %02X, not %02X\n", number, i, response[i],
			right);
		return false;
	}
	return true;
}

/*
 * A T=0 card keeps the answer to a command with data: fetches it with GET
 * RESPONSE while it says 61xx, and repeats with the length that 6Cxx names.
 * response has the answer so far; ISO/IEC 7816-3, 12.2.1.
 */
static LONG complete(struct session *session, uint8_t *command, size_t size, uint8_t *response,
		     DWORD *total)
{
	uint8_t part[MAX_BUFFER_SIZE_EXTENDED];
	uint8_t get[5] = { 0, 0xC0, 0, 0, 0 };
	DWORD count;
	LONG code = SCARD_S_SUCCESS;

	while (code == SCARD_S_SUCCESS && *total >= 2) {
		uint8_t sw1 = response[*total - 2], sw2 = response[*total - 1];

		if (sw1 == 0x61) {
			get[4] = sw2;
			code = transmit(session, get, sizeof get, part, &count);
			*total -= 2;
		} else if (sw1 == 0x6C && size == 5) {
			command[4] = sw2;
			code = transmit(session, command, size, part, &count);
			*total = 0;
		} else {
			break;
		}
		if (code == SCARD_S_SUCCESS && count > MAX_BUFFER_SIZE_EXTENDED - *total)
			code = SCARD_E_INSUFFICIENT_BUFFER;
		if (code == SCARD_S_SUCCESS) {
			memcpy(response + *total, part, count);
			*total += count;
		}
	}
	return code;
}

/* Sends echo number n and checks the answer. Answers a status. */
static int echo_once(struct session *session, const struct options *options, uint16_t number,
		     uint8_t *command, uint8_t *response)
{
	size_t size = echo_command(options, number, command);
	DWORD answered = 0;
	LONG code = transmit(session, command, size, response, &answered);

	if (code == SCARD_S_SUCCESS && session->protocol == SCARD_PROTOCOL_T0)
		code = complete(session, command, size, response, &answered);
	if (code != SCARD_S_SUCCESS)
		return failed("SCardTransmit", code);
	return echo_right(options, number, response, answered) ? 0 : STATUS_ERROR;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int echo_all(struct session *session, const struct options *options)
{
	size_t max = MAX_BUFFER_SIZE_EXTENDED, count = (size_t)options->count;
	uint8_t *command = allocate(max), *response = allocate(max);
	double *times = allocate(count * sizeof *times);
	double start = now(), seconds;
	int status = 0;

	for (size_t i = 0; status == 0 && i < count; i++) {
		double before = now();

		status = echo_once(session, options, (uint16_t)(i + 1), command, response);
		times[i] = now() - before;
	}
	seconds = now() - start;
	qsort(times, count, sizeof *times, compare);
	if (status == 0)
		printf("count %zu seconds %.3f rate %.1f median-ms %.3f\n", count, seconds,
		       (double)count / seconds, times[count / 2] * 1e3);
	free(command);
	free(response);
	free(times);
	return status;
}

static int do_echo(struct session *session, const struct options *options, int argc, char **argv)
{
	int status;

	(void)argv;
	if (argc > 0 || options->count < 1 || options->count > 100000000 ||
	    options->command_size < 0 || options->command_size > ECHO_DATA_MAX ||
	    options->response_size < 0 || options->response_size > ECHO_RESPONSE_MAX)
		return wrong_use("echo [-p T0|T1|any] [--count N] "
				 "[--command-size 0..65535] "
				 "[--response-size 0..65536]");
	status = open_card(session, options);
	return status ? status : echo_all(session, options);
}

static int do_reset(struct session *session, const struct options *options, int argc, char **argv)
{
	int status = open_card(session, options);

	(void)argc;
	(void)argv;
	return status ? status : reset_card(session, options);
}

/* Prints an attribute as hex, and as text where it is one. */
static int print_attribute(struct session *session, DWORD id)
{
	uint8_t value[MAX_BUFFER_SIZE] = { 0 };
	DWORD size = sizeof value;
	LONG code = SCardGetAttrib(session->card, id, value, &size);
	bool text = size > 1;

	if (code != SCARD_S_SUCCESS)
		return failed("SCardGetAttrib", code);
	print_hex(value, size);
	for (DWORD i = 0; i < size; i++)
		text = text && (isprint(value[i]) || (value[i] == 0 && i == size - 1));
	if (text)
		printf(" \"%.*s\"", (int)strnlen((char *)value, size), (char *)value);
	putchar('\n');
	return 0;
}

/* Connects without asking for a card, as some attributes need none. */
static int open_reader(struct session *session, const struct options *options)
{
	int status = open_context(session, options);
	LONG code;

	if (status != 0)
		return status;
	if (!session->reader)
		return failed("SCardConnect", SCARD_E_UNKNOWN_READER);
	code = SCardConnect(session->context, session->reader, SCARD_SHARE_DIRECT, 0,
			    &session->card, &session->protocol);
	return code == SCARD_S_SUCCESS ? 0 : failed("SCardConnect", code);
}

static int do_attr(struct session *session, const struct options *options, int argc, char **argv)
{
	int status;

	for (size_t i = 0; argc == 1 && i < COUNT(attributes); i++) {
		if (strcmp(argv[0], attributes[i].name) != 0)
			continue;
		status = open_reader(session, options);
		return status ? status : print_attribute(session, attributes[i].value);
	}
	wrong_use("attr NAME, where NAME is one of");
	for (size_t i = 0; i < COUNT(attributes); i++)
		fprintf(stderr, "  %s\n", attributes[i].name);
	return STATUS_USAGE;
}

static const struct {
	const char *name;
	int (*run)(struct session *, const struct options *, int, char **);
} subcommands[] = {
	{ "list", do_list }, { "wait", do_wait },   { "apdu", do_apdu },
	{ "echo", do_echo }, { "reset", do_reset }, { "attr", do_attr },
};

/* Reads the options; answers a status. */
static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {
		{ "reader", required_argument, NULL, 'r' },
		{ "protocol", required_argument, NULL, 'p' },
		{ "count", required_argument, NULL, 'n' },
		{ "command-size", required_argument, NULL, 'c' },
		{ "response-size", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "r:p:n:", table, NULL)) != -1) {
		if (letter == 'r')
			options->reader = optarg;
		else if (letter == 'p')
			options->protocol = optarg;
		else if (letter == 'n')
			options->count = atol(optarg);
		else if (letter == 'c')
			options->command_size = atol(optarg);
		else if (letter == 's')
			options->response_size = atol(optarg);
		else
			return STATUS_USAGE;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options options = { .count = 1 };
	struct session session = { 0 };
	int status = parse_options(argc, argv, &options);

	if (status != 0)
		return status;
	for (size_t i = 0; optind < argc && i < COUNT(subcommands); i++) {
		if (strcmp(argv[optind], subcommands[i].name) != 0)
			continue;
		status = subcommands[i].run(&session, &options, argc - optind - 1,
					    argv + optind + 1);
		if (session.card)
			SCardDisconnect(session.card, SCARD_LEAVE_CARD);
		if (session.context)
			SCardReleaseContext(session.context);
		return status;
	}
	return wrong_use("[-r READER] list|wait|apdu|echo|reset|attr ...");
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The commands as a table, and the reader of lines that finds them in it.
 */

#include "tools/vscclient-commands.h"

#include <errno.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/vscclient-say.h"

/* No command is longer; of a line that is, nothing is done. */
#define LINE_MAX_LENGTH 256u

struct ClientCommands {
	int fd;
	guint source; /* 0: held, or the input has ended */
	bool ended;   /* the input */
	ClientCards *cards;
	guint selected;
	bool prompt;
	bool ending; /* `exit` was there: the rest of the input is not for us */
	bool too_long;
	char line[LINE_MAX_LENGTH];
	size_t len;
	void (*on_exit)(void *user);
	void *user;
};

typedef struct Command {
	const char *name;
	const char *argument; /* for help; NULL: takes none */
	const char *help;
	void (*run)(ClientCommands *commands, const char *argument);
} Command;

static int trace_level;

static void print_trace(const char *line)
{
	say("%s", line);
}

void client_commands_set_trace(int level)
{
	trace_level = level;
	vsc_link_set_trace(level, level > 0 ? print_trace : NULL);
}

/* ---- The commands ---- */

/* The reader a command names, or the selected one. NULL: said why. */
static VscCard *reader_of(ClientCommands *commands, const char *argument, guint *number)
{
	guint64 given = commands->selected;
	VscCard *card;

	if (*argument != '\0' &&
	    !g_ascii_string_to_unsigned(argument, 10, 0, G_MAXUINT, &given, NULL)) {
		answer("'%s' is no reader's number; see list", argument);
		return NULL;
	}
	card = client_cards_get(commands->cards, (guint)given);
	if (card == NULL)
		answer("there is no reader %u; see list", (guint)given);
	*number = (guint)given;
	return card;
}

static void run_insert(ClientCommands *commands, const char *argument)
{
	guint number;

	if (reader_of(commands, argument, &number) != NULL)
		client_cards_insert(commands->cards, number);
}

static void run_remove(ClientCommands *commands, const char *argument)
{
	guint number;

	if (reader_of(commands, argument, &number) != NULL)
		client_cards_remove(commands->cards, number);
}

static void run_select(ClientCommands *commands, const char *argument)
{
	guint number;
	VscCard *card = NULL;

	if (*argument == '\0')
		answer("select wants a reader's number; see list");
	else
		card = reader_of(commands, argument, &number);
	if (card == NULL)
		return;
	commands->selected = number;
	answer("reader %u is selected: %s", number, vsc_card_name(card));
}

static void run_list(ClientCommands *commands, const char *argument)
{
	(void)argument;
	client_cards_list(commands->cards);
}

static void run_debug(ClientCommands *commands, const char *argument)
{
	guint64 level = (guint64)trace_level;

	(void)commands;
	if (*argument != '\0' &&
	    !g_ascii_string_to_unsigned(argument, 10, 0, G_MAXINT, &level, NULL)) {
		answer("'%s' is no level; 0 is silent, %d says most", argument, VSC_TRACE_MAX);
		return;
	}
	client_commands_set_trace((int)MIN(level, VSC_TRACE_MAX));
	answer("debug level is %d", trace_level);
}

static void run_exit(ClientCommands *commands, const char *argument)
{
	(void)argument;
	commands->ending = true;
	commands->on_exit(commands->user);
}

static void run_help(ClientCommands *commands, const char *argument);

static const Command table[] = {
	{ "insert", "[READER]", "put the card into a reader (the selected one)", run_insert },
	{ "remove", "[READER]", "take the card out", run_remove },
	{ "select", "READER", "the reader that insert and remove mean", run_select },
	{ "list", NULL, "the readers: number, card, lent to the host or not, name", run_list },
	{ "debug", "[LEVEL]", "say, or change, how much is traced: 0 to 3", run_debug },
	{ "exit", NULL, "end", run_exit },
	{ "quit", NULL, "end", run_exit },
	{ "help", NULL, "say this", run_help },
};

static void run_help(ClientCommands *commands, const char *argument)
{
	(void)commands;
	(void)argument;
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		answer("%-7s %-9s %s", table[i].name,
		       table[i].argument != NULL ? table[i].argument : "", table[i].help);
}

/* ---- Lines ---- */

static void run_line(ClientCommands *commands, char *line)
{
	char *argument;

	g_strstrip(line);
	argument = line + strcspn(line, " \t");
	if (*argument != '\0')
		*argument++ = '\0';
	argument += strspn(argument, " \t");
	if (*line == '\0')
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		if (strcmp(line, table[i].name) != 0)
			continue;
		if (table[i].argument == NULL && *argument != '\0')
			answer("%s takes nothing after it", line);
		else
			table[i].run(commands, argument);
		return;
	}
	answer("'%s' is no command; see help", line);
}

static void end_line(ClientCommands *commands)
{
	if (commands->too_long)
		answer("a line is too long: %u bytes at most", LINE_MAX_LENGTH - 1);
	else
		run_line(commands, commands->line);
	commands->len = 0;
	commands->line[0] = '\0';
	commands->too_long = false;
	if (commands->prompt && !commands->ending)
		printf("> ");
	fflush(stdout);
}

static void take_byte(ClientCommands *commands, char byte)
{
	if (byte == '\n') {
		end_line(commands);
	} else if (commands->len == LINE_MAX_LENGTH - 1) {
		commands->too_long = true;
	} else {
		commands->line[commands->len++] = byte != '\0' ? byte : ' ';
		commands->line[commands->len] = '\0';
	}
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer user)
{
	ClientCommands *commands = user;
	char bytes[LINE_MAX_LENGTH];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	(void)condition;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return G_SOURCE_CONTINUE;
	for (ssize_t i = 0; i < n && !commands->ending; i++)
		take_byte(commands, bytes[i]);
	if (n > 0 && !commands->ending)
		return G_SOURCE_CONTINUE;
	/* A last line need not have an end. */
	if (n <= 0 && commands->len > 0)
		end_line(commands);
	commands->source = 0;
	commands->ended = true;
	return G_SOURCE_REMOVE;
}

static void ask_on(ClientCommands *commands)
{
	commands->source = g_unix_fd_add(commands->fd, G_IO_IN | G_IO_HUP | G_IO_ERR | G_IO_NVAL,
					 on_input, commands);
	if (commands->prompt)
		printf("> ");
	fflush(stdout);
}

ClientCommands *client_commands_new(int fd, ClientCards *cards, bool prompt,
				    void (*on_exit)(void *user), void *user)
{
	ClientCommands *commands = g_new0(ClientCommands, 1);

	commands->cards = cards;
	commands->prompt = prompt;
	commands->on_exit = on_exit;
	commands->user = user;
	commands->fd = fd;
	ask_on(commands);
	return commands;
}

void client_commands_hold(ClientCommands *commands, bool held)
{
	if (held)
		g_clear_handle_id(&commands->source, g_source_remove);
	else if (commands->source == 0 && !commands->ended)
		ask_on(commands);
}

void client_commands_free(ClientCommands *commands)
{
	if (commands == NULL)
		return;
	if (commands->source != 0)
		g_source_remove(commands->source);
	g_free(commands);
}

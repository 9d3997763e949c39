/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The agent of the test guest: runs shell commands for the host.
 *
 * The host side is guest.py; between the two lies a virtio-serial port. A
 * command's output goes out as it comes, several commands run at once, and each
 * one can be given input and killed. When the host hangs up, the guest powers
 * itself off, so that a test that dies leaves no guest behind.
 *
 * Each frame is a type (1 byte), a command's id (4 bytes), the length of what
 * follows (4 bytes), both big-endian, and then the content:
 *
 *   from the host   'R' run: the shell command
 *                   'I' input for it; with no content, end of input
 *                   'K' kill: the number of the signal (1 byte)
 *                   'Q' power the guest off
 *   to the host     'H' hello: commands can be run now
 *                   'O' output, standard output and error alike
 *                   'A' so many bytes of input were taken (4 bytes)
 *                   'X' the end: status (4 bytes), or minus the signal
 *                   'E' the end: there was an error (text)
 *
 * The host may have INPUT_MAX bytes of input on the way to each command, that
 * is, sent and not yet taken.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEADER_SIZE 9u
/* The longest content of a frame: a comfortable shell command. */
#define CONTENT_MAX 65536u
#define FRAME_MAX (HEADER_SIZE + CONTENT_MAX)
/* What the host may send to one command before it waits. */
#define INPUT_MAX 65536u
/* How many commands run at once; tests need a handful. */
#define COMMANDS_MAX 64u
/* One read of a command's output: all that a pipe holds. */
#define CHUNK 65536u
/* Each command is watched for its end, its input and its output. */
#define WATCHES 3u

/* Bytes that wait: those from start to end in data. */
struct buffer {
	uint8_t *data;
	size_t size;
	size_t start;
	size_t end;
};

struct command {
	uint32_t id;
	pid_t pid;   /* also its process group; 0 for a free place */
	int process; /* a pidfd */
	int input;   /* or -1 */
	int output;  /* or -1 */
	bool input_ends;
	struct buffer pending;
};

static struct command commands[COMMANDS_MAX];
static struct buffer received;
static struct buffer sending;
static int port = -1;

static _Noreturn void power_off(const char *why)
{
	fprintf(stderr, "agent: %s\n", why);
	sync();
	reboot(RB_POWER_OFF);
	exit(EXIT_FAILURE);
}

static void buffer_init(struct buffer *buffer, size_t size)
{
	*buffer = (struct buffer){ .data = malloc(size), .size = size };
	if (!buffer->data)
		power_off("no memory");
}

static size_t buffer_used(const struct buffer *buffer)
{
	return buffer->end - buffer->start;
}

/* Moves what waits to the front and answers how much more fits. */
static size_t buffer_room(struct buffer *buffer)
{
	size_t used = buffer_used(buffer);

	if (buffer->start > 0) {
		memmove(buffer->data, buffer->data + buffer->start, used);
		buffer->start = 0;
		buffer->end = used;
	}
	return buffer->size - used;
}

/* Appends what the caller knows to fit. */
static void buffer_add(struct buffer *buffer, const void *data, size_t size)
{
	if (size > buffer_room(buffer))
		power_off("a buffer is too small");
	if (size > 0)
		memcpy(buffer->data + buffer->end, data, size);
	buffer->end += size;
}

static void put_be32(uint8_t *bytes, uint32_t value)
{
	bytes[0] = (uint8_t)(value >> 24);
	bytes[1] = (uint8_t)(value >> 16);
	bytes[2] = (uint8_t)(value >> 8);
	bytes[3] = (uint8_t)value;
}

static uint32_t get_be32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       (uint32_t)bytes[3];
}

/* Writes out what waits for the host, as far as the port takes it. */
static void flush_port(void)
{
	while (buffer_used(&sending) > 0) {
		ssize_t n = write(port, sending.data + sending.start, buffer_used(&sending));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			power_off("cannot write to the host");
		sending.start += (size_t)n;
	}
}

/* Waits until everything was taken by the host. */
static void drain_port(void)
{
	struct pollfd watch = { .fd = port, .events = POLLOUT };

	for (;;) {
		flush_port();
		if (buffer_used(&sending) == 0)
			return;
		if (poll(&watch, 1, -1) < 0 && errno != EINTR)
			power_off("cannot wait for the host");
		if (watch.revents & POLLHUP)
			power_off("the host hung up");
	}
}

static void send_frame(char type, uint32_t id, const void *content, size_t size)
{
	uint8_t header[HEADER_SIZE] = { (uint8_t)type };

	if (buffer_room(&sending) < HEADER_SIZE + size)
		drain_port();
	put_be32(header + 1, id);
	put_be32(header + 5, (uint32_t)size);
	buffer_add(&sending, header, sizeof header);
	buffer_add(&sending, content, size);
}

static void send_number(char type, uint32_t id, uint32_t number)
{
	uint8_t content[4];

	put_be32(content, number);
	send_frame(type, id, content, sizeof content);
}

__attribute__((format(printf, 2, 3))) static void send_error(uint32_t id, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	send_frame('E', id, text, strlen(text));
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static struct command *find_command(uint32_t id)
{
	for (size_t i = 0; i < COMMANDS_MAX; i++)
		if (commands[i].pid > 0 && commands[i].id == id)
			return &commands[i];
	return NULL;
}

static struct command *free_command(void)
{
	for (size_t i = 0; i < COMMANDS_MAX; i++)
		if (commands[i].pid == 0)
			return &commands[i];
	return NULL;
}

/* The child's side of run_command; in and out are its ends of the pipes. */
static _Noreturn void become_shell(const char *line, int in, int out)
{
	setsid();
	signal(SIGPIPE, SIG_DFL);
	if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
	    dup2(out, STDERR_FILENO) >= 0)
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
	_exit(127);
}

static void set_nonblocking(int fd)
{
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		power_off("cannot make a file nonblocking");
}

/* Starts line in the free place; in and out are pipes. Answers success. */
static bool start_command(struct command *command, const char *line, const int in[2],
			  const int out[2])
{
	pid_t pid = fork();
	int process;

	if (pid == 0)
		become_shell(line, in[0], out[1]);
	if (pid < 0)
		return false;
	process = pidfd_open(pid, 0);
	if (process < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return false;
	}
	set_nonblocking(in[1]);
	set_nonblocking(out[0]);
	command->pid = pid;
	command->process = process;
	command->input = in[1];
	command->output = out[0];
	return true;
}

static void run_command(uint32_t id, const uint8_t *content, size_t size)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	struct command *command = free_command();
	char *line = strndup((const char *)content, size);

	if (!command || !line || find_command(id)) {
		send_error(id, "too many commands, or an id in use");
	} else if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ||
		   !start_command(command, line, in, out)) {
		send_error(id, "cannot start: %s", strerror(errno));
		close_fd(&in[1]);
		close_fd(&out[0]);
	} else {
		command->id = id;
		command->input_ends = false;
		buffer_init(&command->pending, INPUT_MAX);
	}
	close_fd(&in[0]);
	close_fd(&out[1]);
	free(line);
}

/* Tells the host that the pending input is gone, and keeps no more of it. */
static void drop_input(struct command *command)
{
	size_t left = buffer_used(&command->pending);

	if (left > 0)
		send_number('A', command->id, (uint32_t)left);
	command->pending.start = command->pending.end;
	close_fd(&command->input);
}

/* Gives the command as much of its input as it takes. */
static void feed_command(struct command *command)
{
	struct buffer *pending = &command->pending;

	while (buffer_used(pending) > 0) {
		ssize_t n =
			write(command->input, pending->data + pending->start, buffer_used(pending));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			drop_input(command);
			return;
		}
		pending->start += (size_t)n;
		send_number('A', command->id, (uint32_t)n);
	}
	if (command->input_ends)
		close_fd(&command->input);
}

static void take_input(struct command *command, const uint8_t *content, size_t size)
{
	if (size > buffer_room(&command->pending))
		power_off("the host sent more input than agreed");
	if (size == 0)
		command->input_ends = true;
	buffer_add(&command->pending, content, size);
	if (command->input < 0)
		drop_input(command);
	else
		feed_command(command);
}

/* Passes on one read of output; closes it at its end. */
static void pass_output(struct command *command)
{
	uint8_t chunk[CHUNK];
	ssize_t n = read(command->output, chunk, sizeof chunk);

	if (n > 0)
		send_frame('O', command->id, chunk, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_fd(&command->output);
}

/*
 * Reaps the command and tells the host. What it left in the pipe, one chunk at
 * most, still counts; what its children in the background write later does not.
 */
static void end_command(struct command *command)
{
	int status = 0;

	if (command->output >= 0)
		pass_output(command);
	while (waitpid(command->pid, &status, 0) < 0 && errno == EINTR)
		;
	drop_input(command);
	close_fd(&command->output);
	close_fd(&command->process);
	free(command->pending.data);
	command->pid = 0;
	send_number('X', command->id,
		    WIFSIGNALED(status) ? (uint32_t)-WTERMSIG(status) :
					  (uint32_t)WEXITSTATUS(status));
}

/* Sends the signal to all of the command, or to it alone if it is that new. */
static void kill_command(const struct command *command, int number)
{
	if (kill(-command->pid, number) < 0)
		kill(command->pid, number);
}

static void take_frame(char type, uint32_t id, const uint8_t *content, size_t size)
{
	struct command *command = find_command(id);

	if (type == 'R')
		run_command(id, content, size);
	else if (type == 'I' && command)
		take_input(command, content, size);
	else if (type == 'K' && command && size == 1)
		kill_command(command, content[0]);
	else if (type == 'Q')
		power_off("the host asks for it");
	/* Input or a signal for a command that has just ended needs nothing. */
}

static void take_frames(void)
{
	for (;;) {
		const uint8_t *bytes = received.data + received.start;
		size_t used = buffer_used(&received), size;

		if (used < HEADER_SIZE)
			return;
		size = get_be32(bytes + 5);
		if (size > CONTENT_MAX)
			power_off("the host sent a frame that is too long");
		if (used < HEADER_SIZE + size)
			return;
		take_frame((char)bytes[0], get_be32(bytes + 1), bytes + HEADER_SIZE, size);
		received.start += HEADER_SIZE + size;
	}
}

static void read_port(void)
{
	size_t room = buffer_room(&received);
	ssize_t n = read(port, received.data + received.end, room);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		power_off("the host hung up");
	received.end += (size_t)n;
	take_frames();
}

/* Fills the watches of all commands; a descriptor of -1 is not watched. */
static void watch_commands(struct pollfd *watches, bool may_send)
{
	for (size_t i = 0; i < COMMANDS_MAX; i++) {
		const struct command *command = &commands[i];
		bool runs = command->pid > 0;
		bool feeds = runs && buffer_used(&command->pending) > 0;
		struct pollfd *watch = watches + WATCHES * i;

		watch[0] = (struct pollfd){ runs ? command->process : -1, POLLIN, 0 };
		watch[1] = (struct pollfd){ feeds ? command->input : -1, POLLOUT, 0 };
		watch[2] = (struct pollfd){ runs && may_send ? command->output : -1, POLLIN, 0 };
	}
}

static void serve_commands(const struct pollfd *watches)
{
	for (size_t i = 0; i < COMMANDS_MAX; i++) {
		const struct pollfd *watch = watches + WATCHES * i;

		if (commands[i].pid == 0)
			continue;
		if (watch[2].revents)
			pass_output(&commands[i]);
		if (watch[1].revents && commands[i].input >= 0)
			feed_command(&commands[i]);
		if (watch[0].revents)
			end_command(&commands[i]);
	}
}

static _Noreturn void serve(void)
{
	struct pollfd watches[WATCHES * COMMANDS_MAX + 1];
	struct pollfd *host = &watches[WATCHES * COMMANDS_MAX];

	for (;;) {
		bool idle = buffer_used(&sending) == 0;

		watch_commands(watches, idle);
		*host = (struct pollfd){ port, (short)(idle ? POLLIN : POLLOUT), 0 };
		if (poll(watches, WATCHES * COMMANDS_MAX + 1, -1) < 0) {
			if (errno != EINTR)
				power_off("cannot wait");
			continue;
		}
		serve_commands(watches);
		if (host->revents & POLLIN)
			read_port();
		if (host->revents & POLLHUP && !(host->revents & POLLIN))
			power_off("the host hung up");
		flush_port();
	}
}

/* Looks for the port called name; answers its device's path or NULL. */
static char *find_port(const char *name)
{
	static char path[300];
	struct dirent *entry;
	DIR *folder = opendir("/sys/class/virtio-ports");
	bool found = false;

	while (folder && !found && (entry = readdir(folder))) {
		char line[128] = "";
		FILE *file;

		snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
		file = fopen(path, "re");
		if (file && fgets(line, sizeof line, file)) {
			line[strcspn(line, "\n")] = '\0';
			found = strcmp(line, name) == 0;
		}
		if (file)
			fclose(file);
		snprintf(path, sizeof path, "/dev/%s", entry->d_name);
	}
	if (folder)
		closedir(folder);
	return found ? path : NULL;
}

/*
 * Opens the port called name once the kernel has it. Its name comes later than
 * the device, so the kernel's own events say when to look again.
 */
static int open_port(const char *name)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	char event[4096];
	char *path;
	int fd;

	if (bind(events, (struct sockaddr *)&address, sizeof address) < 0)
		power_off("cannot listen to the kernel's events");
	while (!(path = find_port(name)))
		if (recv(events, event, sizeof event, 0) < 0 && errno != ENOBUFS)
			power_off("cannot wait for the port");
	close(events);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		power_off("cannot open the port");
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s PORT-NAME\n", argv[0]);
		return EXIT_FAILURE;
	}
	signal(SIGPIPE, SIG_IGN);
	if (setenv("HOME", "/root", 1) < 0 || chdir("/root") < 0)
		power_off("no home");
	buffer_init(&received, FRAME_MAX);
	buffer_init(&sending, 2 * FRAME_MAX);
	port = open_port(argv[1]);
	/* Waits for the host to connect; from then on a hang-up is one. */
	send_frame('H', 0, NULL, 0);
	flush_port();
	set_nonblocking(port);
	serve();
}

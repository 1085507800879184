package host

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// Notify tells systemd a state such as "READY=1", "STOPPING=1" or "WATCHDOG=1" on the
// socket named by NOTIFY_SOCKET; without a socket it does nothing. Source: sd_notify(3).
func Notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	// A leading @, the abstract namespace, is understood by package net as well.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// WatchdogInterval is how often to send WATCHDOG=1: half of what WATCHDOG_USEC allows; 0 when
// systemd does not watch the process pid, which WATCHDOG_PID names.
func WatchdogInterval(getenv func(string) string, pid int) time.Duration {
	if watched := getenv("WATCHDOG_PID"); watched != "" && watched != strconv.Itoa(pid) {
		return 0
	}
	µs, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || µs <= 0 {
		return 0
	}
	return time.Duration(µs) * time.Microsecond / 2
}

package artefact

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"bramble/fault"
	"bramble/host"
)

// socket carries JSON messages, each with at most one open file, between an agent and a porter.
// A message is a row of packets: 1 and a part of it, at last 0 and the rest, with which the file goes.
type socket struct{ conn *net.UnixConn }

const (
	packetSize = 32 << 10        // below every kernel's limit
	maxMessage = MaxManifest * 2 // bytes of JSON that either side takes from the other
)

// socketPair makes a socket and the file that is its other end.
func socketPair() (*socket, *os.File, error) {
	near, far, err := host.SocketPair()
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	s, err := openSocket(near)
	if err != nil {
		far.Close()
	}
	return s, far, err
}

// openSocket takes over the file.
func openSocket(f *os.File) (*socket, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("not a local socket")
	}
	return &socket{unix}, nil
}

func (s *socket) Close() error { return s.conn.Close() }

// send sends v, and f unless it is nil.
func (s *socket) send(v any, f *os.File) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	for len(data) > packetSize {
		if err := s.packet(1, data[:packetSize], nil); err != nil {
			return err
		}
		data = data[packetSize:]
	}
	return s.packet(0, data, f)
}

func (s *socket) packet(more byte, data []byte, f *os.File) error {
	packet := append([]byte{more}, data...)
	if f == nil {
		_, err := s.conn.Write(packet)
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = s.conn.WriteMsgUnix(packet, syscall.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sent)
}

// recv reads a message into v and returns the file that came with it, or nil.
func (s *socket) recv(v any) (*os.File, error) {
	var data []byte
	packet, side := make([]byte, packetSize+1), make([]byte, syscall.CmsgSpace(4))
	for {
		n, sideN, _, _, err := s.conn.ReadMsgUnix(packet, side)
		if err != nil {
			return nil, err
		}
		files := openedIn(side[:sideN])
		if n == 0 || len(data)+n > maxMessage {
			closeAll(files)
			return nil, fault.New(fault.Failed, "a message between agent and porter is empty or too long")
		}
		data = append(data, packet[1:n]...)
		if packet[0] != 0 {
			closeAll(files)
			continue
		}
		if err := json.Unmarshal(data, v); err != nil || len(files) > 1 {
			closeAll(files)
			return nil, fault.New(fault.Failed, "an unreadable message between agent and porter: %w", err)
		}
		if len(files) == 0 {
			return nil, nil
		}
		return files[0], nil
	}
}

// openedIn are the files that a control message brought.
func openedIn(side []byte) []*os.File {
	var files []*os.File
	messages, err := syscall.ParseSocketControlMessage(side)
	if err != nil {
		return nil
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "blob"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

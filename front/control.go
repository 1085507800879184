package front

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bramble/accesslog"
	"bramble/fault"
	"bramble/keeper"
)

// A front's process is spoken to over a socket in its folder, and a front without a cluster over one where its owner wants it, which only
// its account may use: a line of JSON each way. The answer to "take" carries the folder's lock and the listening sockets too (SCM_RIGHTS,
// unix(7)), and who asked for them keeps the connection until it has the shared addresses: so long they are both processes'. Behind the
// answer to "log" come lines of the log.

// asked is what a process is asked.
type asked struct {
	Do     string             `json:"do"` // look, set, heed, log, take or end; of a front without a cluster look or change
	Orders []Order            `json:"orders,omitempty"`
	Loads  map[string]float64 `json:"loads,omitempty"` // of nodes, by name
	Log    accesslog.Request  `json:"log,omitzero"`
	Change Change             `json:"change,omitzero"`
}

// said is its answer.
type said struct {
	Version string             `json:"version"`
	Fronts  map[string]Carried `json:"fronts"`
	Doors   []string           `json:"doors,omitempty"`  // of the sockets that come with it, behind the lock
	Held    map[string]string  `json:"held,omitempty"`   // shared addresses that it has, by front, to be kept
	Fault   *fault.Error       `json:"fault,omitempty"`  // why it does not do that
	Status  *Status            `json:"status,omitempty"` // of a front without a cluster
}

const (
	mostSaid    = 16 << 20 // bytes of a line
	mostHanded  = 200      // sockets; the kernel takes 253 at once
	askPatience = 5 * time.Second
	handing     = 2 * time.Second // until the next process has the shared addresses
)

func socketIn(dir string) string { return filepath.Join(dir, "socket") }

// talk asks the process of a folder. The files are those that came with the answer.
func talk(dir string, ask asked) (answer said, files []*os.File, err error) {
	return talkAt(socketIn(dir), ask)
}

// talkAt is talk with the process at a socket.
func talkAt(socket string, ask asked) (answer said, files []*os.File, err error) {
	conn, err := speak(socket, ask)
	if err != nil {
		return said{}, nil, err
	}
	defer conn.Close()
	return answered(conn)
}

// answered is what a process says that was asked.
func answered(conn *net.UnixConn) (answer said, files []*os.File, err error) {
	line, files, err := hear(conn)
	if err == nil {
		err = json.Unmarshal(line, &answer)
	}
	if err != nil {
		closeAll(files)
		return said{}, nil, err
	}
	return answer, files, nil
}

// speak asks the process at a socket, which has a moment to answer.
func speak(socket string, ask asked) (*net.UnixConn, error) {
	path, done, err := keeper.ShortPath(socket)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := net.DialTimeout("unix", path, askPatience)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(askPatience))
	if err := json.NewEncoder(conn).Encode(ask); err != nil {
		conn.Close()
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// hear reads a line, and the files that come with its first bytes.
func hear(conn *net.UnixConn) (line []byte, files []*os.File, err error) {
	piece, extra := make([]byte, 64<<10), make([]byte, syscall.CmsgSpace(4*mostHanded))
	for !bytes.HasSuffix(line, []byte("\n")) {
		n, oob, _, _, err := conn.ReadMsgUnix(piece, extra)
		if oob > 0 {
			files = append(files, unpackFiles(extra[:oob])...)
		}
		line = append(line, piece[:max(n, 0)]...) // below 0: the other side was reset
		switch {
		case err != nil:
			return line, files, err
		case n == 0:
			return line, files, io.ErrUnexpectedEOF
		case len(line) > mostSaid:
			return line, files, errors.New("the answer is too long")
		}
	}
	return line, files, nil
}

// unpackFiles are the files in control messages.
func unpackFiles(control []byte) (files []*os.File) {
	messages, _ := syscall.ParseSocketControlMessage(control)
	for _, m := range messages {
		fds, _ := syscall.ParseUnixRights(&m)
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "listener"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// answerWith sends a line with files. Their line is short, so that one message holds it.
func answerWith(conn *net.UnixConn, answer said, files []*os.File) error {
	line, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if len(files) == 0 {
		_, err = conn.Write(line)
		return err
	}
	var fds []int
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }) // Fd would make the socket a blocking one, for everybody who has it
	}
	n, _, err := conn.WriteMsgUnix(line, syscall.UnixRights(fds...), nil)
	if err == nil && n < len(line) {
		_, err = conn.Write(line[n:])
	}
	return err
}

// listenControl opens a socket that is its owner's alone from the beginning, in the place of what was there.
func listenControl(socket string) (*net.UnixListener, error) {
	private, err := os.MkdirTemp(filepath.Dir(socket), ".socket-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	path, done, err := keeper.ShortPath(made)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, socket)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// attend has questions answered one after the other until ctx ends. An answer that goes on keeps its connection.
func attend(ctx context.Context, l *net.UnixListener, answer func(*net.UnixConn, asked) (goesOn bool)) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	for ctx.Err() == nil {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		conn.SetDeadline(time.Now().Add(askPatience))
		line, files, err := hear(conn)
		closeAll(files)
		var ask asked
		if err != nil || json.Unmarshal(line, &ask) != nil || !answer(conn, ask) {
			conn.Close()
		}
	}
}

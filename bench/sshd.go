package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	hostnet "bramble/host/net"
)

// sshRun is where sshd locks itself in; it refuses to start without.
const sshRun = "/run/sshd"

// sshds are one sshd on each node of a rack, and the key that opens them.
type sshds struct {
	dir      string
	children []*child
	madeRun  bool
}

// startSSH starts Debian's sshd on every node, with host keys of their own, and returns when all answer.
func (b *bench) startSSH(ctx context.Context, r *rack) (*sshds, error) {
	s := &sshds{dir: filepath.Join(b.dir, "ssh")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := os.Stat(sshRun); err != nil {
		if err := os.Mkdir(sshRun, 0o755); err != nil {
			return nil, err
		}
		s.madeRun = true
	}
	err := s.start(ctx, b, r)
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *sshds) start(ctx context.Context, b *bench, r *rack) error {
	network, err := hostnet.Open(hostnet.ID(r.State))
	if err != nil {
		return err
	}
	if err := newKey(ctx, s.key()); err != nil {
		return err
	}
	for _, n := range r.nodes {
		args, err := s.configure(ctx, n.Name)
		if err != nil {
			return err
		}
		entry, err := network.Entry(n.Name, filepath.Join(r.State, n.Name, "machine"))
		if err != nil {
			return err
		}
		entry.Keep = []string{s.dir}
		argv := entry.Argv(b.exe, args...)
		c, err := b.start(nil, argv[0], argv[1:]...)
		if err != nil {
			return err
		}
		s.children = append(s.children, c)
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, n := range r.nodes {
		group.Go(func() error {
			if err := answers(ctx, net.JoinHostPort(n.Address, "22")); err != nil {
				return fmt.Errorf("sshd of %s: %w; it said: %s", n.Name, err, s.children[i].last())
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *sshds) key() string { return filepath.Join(s.dir, "key") }

// configure makes a node's host key and configuration, and returns sshd's command line. Without PAM, motd and look-ups
// of names it is as fast as it can be. SHLVL keeps Debian's bash from reading ~/.bashrc for ssh, which would measure
// what this machine's account has there.
func (s *sshds) configure(ctx context.Context, node string) ([]string, error) {
	sshd, err := findSSHD()
	if err != nil {
		return nil, err
	}
	host := filepath.Join(s.dir, "host-"+node)
	if err := newKey(ctx, host); err != nil {
		return nil, err
	}
	config := filepath.Join(s.dir, "config-"+node)
	text := fmt.Sprintf("Port 22\nHostKey %s\nAuthorizedKeysFile %s.pub\nPidFile none\nUsePAM no\nStrictModes no\nUseDNS no\n"+
		"PrintMotd no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nSetEnv SHLVL=1\n", host, s.key())
	return []string{sshd, "-D", "-e", "-f", config}, os.WriteFile(config, []byte(text), 0o600)
}

func newKey(ctx context.Context, path string) error {
	return command(ctx, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
}

// findSSHD is sshd's absolute path, without which it refuses to start; it is seldom in PATH.
func findSSHD() (string, error) {
	for _, path := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return exec.LookPath("sshd")
}

// answers returns when an ssh server greets at the address.
func answers(ctx context.Context, addr string) error {
	for {
		greeting, err := greeting(ctx, addr)
		if err == nil && strings.HasPrefix(greeting, "SSH-") {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func greeting(ctx context.Context, addr string) (string, error) {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	return bufio.NewReader(conn).ReadString('\n')
}

// stop ends every sshd.
func (s *sshds) stop() {
	var group errgroup.Group
	for _, c := range s.children {
		group.Go(func() error { c.stop(); return nil })
	}
	group.Wait()
	os.RemoveAll(s.dir)
	if s.madeRun {
		os.Remove(sshRun)
	}
}

// pdsh times a command on all nodes over ssh, fanout of them at the same time; 0 is pdsh's own default.
func (s *sshds) pdsh(r *rack, fanout int, args ...string) func(context.Context) (time.Duration, error) {
	var addresses []string
	for _, n := range r.nodes {
		addresses = append(addresses, n.Address)
	}
	options := []string{"-R", "ssh", "-S", "-w", strings.Join(addresses, ",")}
	if fanout > 0 {
		options = append(options, "-f", fmt.Sprint(fanout))
	}
	env := []string{"PDSH_SSH_ARGS_APPEND=" + strings.Join([]string{"-F/dev/null", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null",
		"-oGlobalKnownHostsFile=/dev/null", "-oBatchMode=yes", "-oIdentitiesOnly=yes", "-oLogLevel=ERROR", "-i" + s.key()}, " ")}
	return func(ctx context.Context) (time.Duration, error) {
		return timed(func() error { return command(ctx, env, "pdsh", append(options, args...)...) })
	}
}

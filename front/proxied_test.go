package front

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// balancer starts a program of Debian's with a configuration in which %s is a folder of its own.
func balancer(t *testing.T, config string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "%s", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/"+args[0], append(args[1:], file)...)
	start(t, cmd, told(t).add)
}

// HAProxy and nginx say who the visitor is, and he is whom members and the log hear of, who is counted and limited.
func TestBehindOthers(t *testing.T) {
	b := newBackend(t, "b", nil)
	cert, key, roots := selfSigned(t, "a.example")
	certs, err := LoadCertificates([]string{cert}, []string{key}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	s := &Server{Spec: pool(b.Member), Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Access: &AccessLog{To: log}}
	w := serveBoth(t, s, certs, listen(t), listen(t))
	doors := map[string]string{}
	for _, name := range []string{"1", "2", "1 tls", "2 tls", "nginx", "nginx tls"} {
		doors[name] = freePort(t)
	}
	config := "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n"
	for name, to := range map[string]string{"1": w.addr + " send-proxy", "2": w.addr + " send-proxy-v2 check check-send-proxy inter 50ms",
		"1 tls": w.secure + " send-proxy", "2 tls": w.secure + " send-proxy-v2"} {
		config += fmt.Sprintf("listen %s\n bind %s\n option httpchk GET /health\n server a %s\n", strings.ReplaceAll(name, " ", "-"), doors[name], to)
	}
	balancer(t, config, "haproxy", "-db", "-f")
	config = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; master_process off; pid %s/pid; error_log stderr;\nevents {}\nstream {\n proxy_protocol on;\n"
	for name, to := range map[string]string{"nginx": w.addr, "nginx tls": w.secure} {
		config += fmt.Sprintf(" server { listen %s; proxy_pass %s; }\n", doors[name], to)
	}
	balancer(t, config+"}\n", "nginx", "-c")

	for name, at := range doors {
		for i, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
			scheme, visitor := "http", fmt.Sprintf("127.0.%d.9", i+1)
			if strings.HasSuffix(name, "tls") {
				scheme = "https"
			} else if protocol == "HTTP/2.0" {
				continue
			}
			client := visitorFrom(t, visitor, at, protocol, &tls.Config{RootCAs: roots})
			for _, method := range []string{"GET", "POST"} {
				var res *http.Response
				w.until(name+" is there", func() bool {
					r, _ := http.NewRequest(method, scheme+"://a.example/"+method, nil)
					res, err = client.Do(r)
					return err == nil
				})
				if io.Copy(io.Discard, res.Body); res.StatusCode != 200 || res.Proto != protocol {
					t.Errorf("%s, %s: %s %s", name, method, res.Proto, res.Status)
				}
				res.Body.Close()
				if heard := b.heard(); !strings.Contains(heard, "\r\nX-Forwarded-For: "+visitor+"\r\n") {
					t.Errorf("%s, %s: a member got %q", name, method, heard)
				}
				line := fmt.Sprintf(`"%s /%s %s" 200`, method, method, protocol)
				w.until("it is noted", func() bool {
					return strings.Contains(log.text(), visitor+" - - [") && strings.Contains(log.text(), line)
				})
			}
		}
	}
	w.until("HAProxy's own check is noted as its own", func() bool {
		return strings.Contains(log.text(), "127.0.0.1 - - [") && strings.Contains(log.text(), `"GET /health HTTP/1.0" 200`)
	})
	if lean := s.web.Counts().Lean; lean < 3 {
		t.Errorf("%d requests went the short way, want 3", lean)
	}
}

// visitorFrom asks whoever is at an address, from an address of its own.
func visitorFrom(t *testing.T, visitor, at, protocol string, config *tls.Config) *http.Client {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: protocol == "HTTP/2.0"}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(visitor)}}
		return d.DialContext(ctx, network, at)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// Limits are those of the visitor, not of the proxy.
func TestProxiedLimits(t *testing.T) {
	b := newBackend(t, "b", nil)
	w := serveWith(t, &Server{Spec: Spec{Pools: pool(b.Member).Pools, Rate: Rate{1e-9, 1}}, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	for _, request := range []string{get, "GET / HTTP/1.0\r\n\r\n"} {
		for i, want := range []int{200, 429} {
			for visitor := range 3 {
				header := fmt.Sprintf("PROXY TCP4 192.0.%d.%d 127.0.0.1 1 80\r\n", len(request), visitor)
				if res, _ := w.ask(header + request); res.StatusCode != want {
					t.Errorf("%d times: %s, want %d", i+1, res.Status, want)
				}
			}
		}
	}
}

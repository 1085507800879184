package front

import (
	"crypto/tls"
	"encoding/xml"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// Of h2spec's cases for HTTP/2 the front fails none that net/http alone passes, with a member behind it.
func TestH2Spec(t *testing.T) {
	cert, key, _ := selfSigned(t, "localhost")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello\n")
	})
	alone := httptest.NewUnstartedServer(hello)
	alone.TLS, alone.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{pair}}, true
	alone.Config.ErrorLog = slog.NewLogLogger(quiet.Handler(), slog.LevelError)
	alone.StartTLS()
	defer alone.Close()
	b := newBackend(t, "b", nil)
	certs, err := LoadCertificates([]string{cert}, []string{key}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	plain, secure := listen(t), listen(t)
	serveBoth(t, &Server{Spec: pool(b.Member)}, certs, plain, secure)
	program, dir := tool(t, "h2spec"), t.TempDir()
	var running sync.WaitGroup
	defer running.Wait()
	known := make(chan map[string]bool, 1)
	running.Go(func() { known <- h2spec(t, program, dir+"/alone", alone.Listener.Addr().String()) })
	ours := h2spec(t, program, dir+"/front", secure.Addr().String())
	theirs := <-known
	for range 2 { // it waits for 2 s only, so a case that failed is tried again
		if len(worse(ours, theirs)) == 0 {
			break
		}
		maps.Copy(ours, passing(h2spec(t, program, dir+"/again", secure.Addr().String())))
	}
	if all := len(passing(ours)); all < 140 || len(ours) < len(theirs) {
		t.Errorf("only %d of %d cases passed", all, len(ours))
	}
	for _, name := range worse(ours, theirs) {
		t.Errorf("failed, and with net/http alone it does not: %s", name)
	}
	t.Logf("%d of %d cases passed; with net/http alone %d of %d", len(passing(ours)), len(ours), len(passing(theirs)), len(theirs))
}

func passing(all map[string]bool) map[string]bool {
	all = maps.Clone(all)
	maps.DeleteFunc(all, func(_ string, ok bool) bool { return !ok })
	return all
}

// worse are the cases that fail here and pass there.
func worse(here, there map[string]bool) (names []string) {
	for name, ok := range here {
		if !ok && there[name] {
			names = append(names, name)
		}
	}
	return names
}

// h2spec says of each case whether it passed.
func h2spec(t *testing.T, program, report, at string) map[string]bool {
	host, port, _ := net.SplitHostPort(at)
	out, err := exec.Command(program, "--tls", "--insecure", "--strict", "--host", host, "--port", port, "--junit-report", report).CombinedOutput()
	text, readErr := os.ReadFile(report)
	if readErr != nil { // its status tells of failed cases too
		t.Errorf("h2spec: %v, %v\n%s", err, readErr, out)
	}
	var all struct {
		Suites []struct {
			Package string `xml:"package,attr"`
			Cases   []struct {
				Name    string    `xml:"classname,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &all); err != nil {
		t.Error(err)
	}
	passed := map[string]bool{}
	for _, s := range all.Suites {
		for _, c := range s.Cases {
			passed[s.Package+" "+c.Name] = c.Failure == nil && c.Error == nil
		}
	}
	return passed
}

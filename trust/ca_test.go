package trust_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bramble/fault"
	"bramble/trust"
)

func TestCAOnDisk(t *testing.T) {
	clock, dir := newHand(), filepath.Join(t.TempDir(), "head")
	_, err := trust.OpenCA(dir, clock.now)
	refuses(t, err, fault.NotFound, "ca.crt")
	made, err := trust.CreateCA(dir, "desk", clock.now)
	must(t, err)
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "ca.key"): 0o600, filepath.Join(dir, "ca.crt"): 0o600} {
		info, err := os.Stat(path)
		must(t, err)
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
	if _, err := trust.CreateCA(dir, "desk", clock.now); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second CA was made: %v", err)
	}
	opened, err := trust.OpenCA(dir, clock.now)
	must(t, err)
	if !opened.Cert().Equal(made.Cert()) || opened.Cluster() != "desk" {
		t.Errorf("opened the CA of %s", opened.Cluster())
	}
	key := newKey(t)
	cert, err := opened.IssueNode("pi1", &key.PublicKey)
	must(t, err)
	if id, err := trust.NewVerifier(made.Cert(), clock.now).Verify(cert); err != nil || id.Name != "pi1" {
		t.Errorf("%v, %v", id, err)
	}
}

func TestCAAfterACrash(t *testing.T) {
	clock := newHand()
	other := t.TempDir()
	_, err := trust.CreateCA(other, "other", clock.now)
	must(t, err)

	dir := t.TempDir() // the key alone: the crash came before the certificate
	copyFile(t, filepath.Join(other, "ca.key"), filepath.Join(dir, "ca.key"))
	_, err = trust.CreateCA(dir, "desk", clock.now)
	must(t, err)
	_, err = trust.OpenCA(dir, clock.now)
	must(t, err)

	copyFile(t, filepath.Join(other, "ca.key"), filepath.Join(dir, "ca.key"))
	_, err = trust.OpenCA(dir, clock.now)
	refuses(t, err, fault.Failed, "do not belong together")
	must(t, os.Remove(filepath.Join(dir, "ca.key")))
	_, err = trust.OpenCA(dir, clock.now)
	refuses(t, err, fault.NotFound, "ca.key")
}

func TestIssuedCertificates(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	headCert, err := w.CA().IssueServer("pi1", &key.PublicKey, []string{"pi1.lan", "192.168.7.2", "::1", "pi1.lan"})
	must(t, err)
	nodeCert, err := w.CA().IssueNode("pi2", &key.PublicKey)
	must(t, err)
	clientCert, err := w.CA().IssueClient("ann", trust.Operator, &key.PublicKey)
	must(t, err)

	roots := x509.NewCertPool()
	roots.AddCert(w.CA().Cert())
	for _, host := range []string{"pi1.lan", "192.168.7.2", "::1"} { // as a browser verifies
		if _, err := headCert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: w.now()}); err != nil {
			t.Errorf("for %s: %v", host, err)
		}
	}
	if len(headCert.DNSNames) != 1 || len(headCert.IPAddresses) != 2 {
		t.Errorf("names %v and addresses %v", headCert.DNSNames, headCert.IPAddresses)
	}
	if _, err := clientCert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: w.now()}); err == nil {
		t.Error("a client's certificate passes for a server's")
	}
	serials := map[string]bool{}
	for _, cert := range []*x509.Certificate{headCert, nodeCert, clientCert} {
		id, err := w.Verify(cert)
		must(t, err)
		serials[id.Serial] = true
		if len(id.Serial) != 32 || cert.IsCA {
			t.Errorf("%v: serial %s, CA %v", id, id.Serial, cert.IsCA)
		}
		if got := cert.NotAfter.Sub(w.now()); got != 90*24*time.Hour {
			t.Errorf("%v lasts %v", id, got)
		}
		if got := w.now().Sub(cert.NotBefore); got < 300*24*time.Hour {
			t.Errorf("%v is back-dated by %v only", id, got)
		}
	}
	if len(serials) != 3 {
		t.Errorf("serials repeat: %v", serials)
	}
}

func TestIssueRefuses(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	_, err := w.CA().IssueNode("Bad Name", &key.PublicKey)
	refuses(t, err, fault.Misused, "Bad Name")
	_, err = w.CA().IssueClient("ann", "root", &key.PublicKey)
	refuses(t, err, fault.Misused, "root")
	_, err = trust.CreateCA(t.TempDir(), "", w.now)
	refuses(t, err, fault.Misused, "name")
}

func TestParseRequestRefuses(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	wrongCurve, err := trust.NewRequest(other)
	must(t, err)
	forged, _ := pem.Decode(request(t, newKey(t)))
	forged.Bytes[len(forged.Bytes)-1] ^= 1
	for name, csr := range map[string][]byte{
		"empty":       nil,
		"not PEM":     []byte("hello"),
		"wrong curve": wrongCurve,
		"forged":      pem.EncodeToMemory(forged),
		"other block": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: forged.Bytes}),
		"garbage":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}),
	} {
		if _, err := trust.ParseRequest(csr); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, text, 0o600))
}

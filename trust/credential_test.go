package trust_test

import (
	"crypto/ecdsa"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bramble/fault"
	"bramble/trust"
	"bramble/trust/trusttest"
)

func TestCredentialOnDisk(t *testing.T) {
	w, dir := newWorld(t), filepath.Join(t.TempDir(), "node")
	_, err := trust.LoadCredential(dir)
	refuses(t, err, fault.NotFound, "cert.pem")
	key, err := trust.OpenKey(dir)
	must(t, err)
	if again, err := trust.OpenKey(dir); err != nil || !again.Equal(key) {
		t.Errorf("a key does not stay: %v", err)
	}
	cert, err := w.join(w.token(nodes), key, "pi1")
	must(t, err)
	cred, err := trust.NewCredential(key, cert, w.CA().Cert())
	must(t, err)
	must(t, cred.Save(dir))
	for _, name := range []string{"key.pem", "cert.pem"} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
	loaded, err := trust.LoadCredential(dir)
	must(t, err)
	if loaded.Identity() != cred.Identity() || !loaded.CA().Equal(w.CA().Cert()) {
		t.Errorf("loaded %v", loaded.Identity())
	}

	other := trusttest.Credential(t, w.Authority, node("pi2"))
	must(t, other.Save(filepath.Join(dir, "other")))
	copyFile(t, filepath.Join(dir, "other", "key.pem"), filepath.Join(dir, "key.pem"))
	if _, err := trust.LoadCredential(dir); err == nil {
		t.Error("another's key was taken")
	}
	must(t, os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("nonsense"), 0o600))
	_, err = trust.LoadCredential(dir)
	refuses(t, err, fault.Failed, "cert.pem")
}

func TestCredentialReplace(t *testing.T) {
	w := newWorld(t)
	cred := trusttest.Credential(t, w.Authority, node("pi1"))
	other := trusttest.Credential(t, w.Authority, node("pi2"))
	key, ok := cred.Cert().PublicKey.(*ecdsa.PublicKey)
	if !ok {
		t.Fatal("the key is not ECDSA")
	}
	foreign, err := trusttest.Authority(t, w.now).CA().IssueNode("pi1", key)
	must(t, err)
	before := cred.Identity()
	if err := cred.Replace(other.Cert()); !fault.Is(err, fault.Misused) {
		t.Errorf("another's certificate: %v", err)
	}
	if err := cred.Replace(foreign); !fault.Is(err, fault.Misused) {
		t.Errorf("a foreign certificate: %v", err)
	}
	if cred.Identity() != before {
		t.Errorf("became %v", cred.Identity())
	}
	if cred.RenewDue(w.now().Add(59*24*time.Hour)) || !cred.RenewDue(w.now().Add(61*24*time.Hour)) {
		t.Error("a certificate is due when 30 of its 90 days are left")
	}
}

func TestClientFile(t *testing.T) {
	w, path := newWorld(t), filepath.Join(t.TempDir(), "laptop.json")
	_, err := trust.LoadClientFile(path)
	refuses(t, err, fault.NotFound, "laptop.json")
	cred := trusttest.Credential(t, w.Authority, client("ann", trust.Operator))
	made := &trust.ClientFile{Cluster: "test", Heads: []string{"pi0:7650"}, Join: "pi0:7651", Web: "https://pi0:7652"}
	must(t, made.SetCredential(cred))
	must(t, made.Save(path))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
	file, err := trust.LoadClientFile(path)
	must(t, err)
	got, err := file.Credential()
	must(t, err)
	if got.Identity() != cred.Identity() || file.Web != made.Web || file.Heads[0] != made.Heads[0] || file.User != "ann" {
		t.Errorf("read %+v", file)
	}

	bad := map[string]func(f *trust.ClientFile){
		"a role that is not the certificate's": func(f *trust.ClientFile) { f.Role = trust.Admin },
		"a user who is not":                    func(f *trust.ClientFile) { f.User = "bob" },
		"no key":                               func(f *trust.ClientFile) { f.Key = "" },
		"no certificate":                       func(f *trust.ClientFile) { f.Cert = "" },
		"no CA":                                func(f *trust.ClientFile) { f.CA = "x" },
		"a CA that is the certificate":         func(f *trust.ClientFile) { f.CA = f.Cert },
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			spoilt := *file
			spoil(&spoilt)
			must(t, spoilt.Save(path))
			_, err := trust.LoadClientFile(path)
			refuses(t, err, fault.Misused, "client file")
		})
	}
	must(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = trust.LoadClientFile(path)
	refuses(t, err, fault.Misused, "client file")
	if err := file.Save(filepath.Join(path, "below")); err == nil || errors.Is(err, trust.ErrExpired) {
		t.Errorf("saved below a file: %v", err)
	}
}

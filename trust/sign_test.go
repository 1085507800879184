package trust

import (
	"testing"
	"time"

	"bramble/fault"
)

func TestSigned(t *testing.T) {
	ca, err := CreateCA(t.TempDir(), "garden", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := CreateCA(t.TempDir(), "garden", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := ca.Sign("release", []byte("abc"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Signed(ca.Cert(), "release", []byte("abc"), sig); err != nil {
		t.Errorf("what was signed: %v", err)
	}
	foreign, _ := other.Sign("release", []byte("abc"))
	for name, err := range map[string]error{
		"other data":       Signed(ca.Cert(), "release", []byte("abd"), sig),
		"another purpose":  Signed(ca.Cert(), "order", []byte("abc"), sig),
		"a moved boundary": Signed(ca.Cert(), "release\x00a", []byte("bc"), sig),
		"another CA":       Signed(ca.Cert(), "release", []byte("abc"), foreign),
		"no signature":     Signed(ca.Cert(), "release", []byte("abc"), nil),
	} {
		if !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package trust_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"bramble/fault"
	"bramble/trust"
)

// sample is a token whose text is known, so that the layout cannot change unseen.
func sample() (trust.Token, string) {
	t := trust.Token{ID: "k3x9t0qa"}
	for i := range t.Secret {
		t.Secret[i], t.CA[i] = byte(i), byte(0xf0+i)
	}
	return t, "bt1-k3x9t0qa000g40r40m30e209185gr38e1zrf3wqkyktzdxzrz7xfqz7xzvzhgjjz"
}

func TestTokenText(t *testing.T) {
	token, text := sample()
	if got := token.String(); got != text {
		t.Fatalf("the text is %s, want %s", got, text)
	}
	loose := strings.NewReplacer("0", "O", "1", "L").Replace(strings.ToUpper(text[4:]))
	for _, typed := range []string{text, "  " + text + "\n", strings.ToUpper(text), text[:30] + "\n  " + text[30:], "BT1-" + loose} {
		got, err := trust.ParseToken(typed)
		if err != nil || got != token {
			t.Errorf("%q was read as %v, %v", typed, got, err)
		}
	}
}

func TestTokenTypos(t *testing.T) {
	token, text := sample()
	for i := len("bt1-"); i < len(text); i++ {
		for _, c := range "0123456789abcdefghjkmnpqrstvwxyzu-!\x00é" {
			if string(c) == text[i:i+1] {
				continue
			}
			_, err := trust.ParseToken(text[:i] + string(c) + text[i+1:])
			refuses(t, err, fault.Misused, "mistyped")
		}
		if i+1 < len(text) && text[i] != text[i+1] {
			_, err := trust.ParseToken(text[:i] + text[i+1:i+2] + text[i:i+1] + text[i+2:])
			refuses(t, err, fault.Misused, "mistyped")
		}
	}
	secret := token.String()[12:38]
	for typed, want := range map[string]string{
		"":                       "not a token",
		"bt":                     "not a token",
		"hello":                  "not a token",
		text[4:]:                 "not a token",
		"bt2-" + text[4:]:        "newer bramble",
		text[:len(text)-1]:       "67 characters",
		text + "0":               "69 characters",
		text + text:              "mistyped",
		strings.Repeat(text, 99): "not a token",
	} {
		_, err := trust.ParseToken(typed)
		refuses(t, err, fault.Misused, want)
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func TestTokenStaysOutOfLogs(t *testing.T) {
	token, text := sample()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("joined", "token", token)
	if !strings.Contains(log.String(), token.ID) || strings.Contains(log.String(), text[12:40]) {
		t.Errorf("logged %s", log.String())
	}
}

func FuzzToken(f *testing.F) {
	_, text := sample()
	for _, seed := range []string{text, strings.ToUpper(text), text[:20], "bt1-", "bt9-x", "", " \n", "bt1-" + strings.Repeat("o", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		token, err := trust.ParseToken(typed)
		if err != nil {
			if !fault.Is(err, fault.Misused) || token != (trust.Token{}) {
				t.Fatalf("%q: %v, %v", typed, token, err)
			}
			return
		}
		again, err := trust.ParseToken(token.String())
		if err != nil || again != token {
			t.Fatalf("%q became %v, then %v, %v", typed, token, again, err)
		}
	})
}

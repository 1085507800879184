package trust_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"

	"bramble/fault"
	"bramble/trust"
	"bramble/trust/trusttest"
)

// shake lets a client and a server with these configurations meet over loopback. With
// TLS 1.3 a client learns only afterwards that it was refused: each side also sends a byte.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = exchange(tls.Server(conn, server))
		}
		served <- err
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	must(t, err)
	clientErr = exchange(tls.Client(conn, client))
	return <-served, clientErr
}

func exchange(conn *tls.Conn) error {
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

// rogue is a certificate that its holder signed with a node's certificate as if that were a CA.
func rogue(t *testing.T, w *world, signer *ecdsa.PrivateKey, parent *x509.Certificate) *tls.Config {
	t.Helper()
	key := newKey(t)
	template, err := w.CA().IssueServer("pi0", &key.PublicKey, nil)
	must(t, err)
	template.AuthorityKeyId = nil
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(t, err)
	chain := [][]byte{der, parent.Raw, w.CA().Cert().Raw}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}, Time: w.now}
}

func TestMutualTLS(t *testing.T) {
	w := newWorld(t)
	stranger := trusttest.Authority(t, w.now)
	headCred := trusttest.Credential(t, w.Authority, head("pi0"))
	nodeCred := trusttest.Credential(t, w.Authority, node("pi1"))
	removed := trusttest.Credential(t, w.Authority, node("pi2"))
	must(t, w.RevokeNode(t.Context(), "pi2"))
	ann := trusttest.Credential(t, w.Authority, client("ann", trust.Viewer))
	foreignNode := trusttest.Credential(t, stranger, node("pi1"))
	foreignHead := trusttest.Credential(t, stranger, head("pi0"))

	server := func(cred *trust.Credential, kinds ...trust.Kind) *tls.Config {
		return trust.ServerConfig(cred, w.Verify, w.now, kinds...)
	}
	caller := func(cred *trust.Credential, kinds ...trust.Kind) *tls.Config {
		return trust.ClientConfig(cred, trust.NewVerifier(cred.CA(), w.now).Verify, w.now, kinds...)
	}
	nobody := &tls.Config{InsecureSkipVerify: true}
	old := caller(nodeCred)
	old.MaxVersion, old.MinVersion = tls.VersionTLS12, tls.VersionTLS12

	tests := []struct {
		name           string
		server, client *tls.Config
		serverRefuses  bool
		clientRefuses  bool
	}{
		{"node to head", server(headCred), caller(nodeCred), false, false},
		{"client to head", server(headCred), caller(ann), false, false},
		{"node to node", server(nodeCred, trust.KindNode, trust.KindHead), caller(nodeCred, trust.KindNode), false, false},
		{"client to a node that serves nodes", server(nodeCred, trust.KindNode), caller(ann, trust.KindNode), true, false},
		{"foreign node", server(headCred), caller(foreignNode), false, true},
		{"foreign node that does not mind", server(headCred), trust.ClientConfig(foreignNode, w.Verify, w.now), true, false},
		{"foreign head", server(foreignHead), caller(nodeCred), false, true},
		{"removed node", server(headCred), caller(removed), true, false},
		{"node presented as a head", server(nodeCred), caller(nodeCred), false, true},
		{"client presented as a head", server(ann), caller(nodeCred), false, true},
		{"no certificate", server(headCred), nobody, true, false},
		{"TLS 1.2", server(headCred), old, true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			serverErr, clientErr := shake(t, test.server, test.client)
			good := !test.serverRefuses && !test.clientRefuses
			if good != (serverErr == nil && clientErr == nil) {
				t.Fatalf("server: %v, client: %v", serverErr, clientErr)
			}
			if test.clientRefuses && !fault.Is(clientErr, fault.Denied) {
				t.Errorf("the client's reason: %v", clientErr)
			}
			if test.serverRefuses && (serverErr == nil || clientErr == nil) {
				t.Errorf("server: %v, client: %v", serverErr, clientErr)
			}
		})
	}
}

func TestExpiredMayOnlyRenew(t *testing.T) {
	w := newWorld(t)
	nodeCred := trusttest.Credential(t, w.Authority, node("pi1"))
	removed := trusttest.Credential(t, w.Authority, node("pi2"))
	must(t, w.RevokeNode(t.Context(), "pi2"))
	w.pass(trust.Validity + 1)
	headCred := trusttest.Credential(t, w.Authority, head("pi0"))
	caller := func(cred *trust.Credential) *tls.Config { return trust.ClientConfig(cred, w.Verify, w.now) }
	bus, joining := trust.ServerConfig(headCred, w.Verify, w.now), trust.JoinConfig(headCred, w.Verify, w.now)

	if err, _ := shake(t, bus, caller(nodeCred)); !errors.Is(err, trust.ErrExpired) {
		t.Errorf("the bus says %v", err)
	}
	if serverErr, clientErr := shake(t, joining, caller(nodeCred)); serverErr != nil || clientErr != nil {
		t.Errorf("the joining port says %v, %v", serverErr, clientErr)
	}
	if err, _ := shake(t, joining, caller(removed)); !fault.Is(err, fault.Denied) {
		t.Errorf("to a removed node the joining port says %v", err)
	}
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{nodeCred.Cert()}}
	if _, err := trust.Peer(state, w.Verify); !errors.Is(err, trust.ErrExpired) {
		t.Errorf("its peer is %v", err)
	}
	_, err := trust.Peer(&tls.ConnectionState{}, w.Verify)
	refuses(t, err, fault.Denied, "no certificate")
	_, err = trust.Peer(nil, w.Verify)
	refuses(t, err, fault.Denied, "no certificate")

	csr, err := nodeCred.Request()
	must(t, err)
	text, _, err := w.Renew(t.Context(), nodeCred.Cert(), csr)
	must(t, err)
	config := caller(nodeCred) // made before the renewal
	must(t, nodeCred.Replace(certificate(t, text)))
	if serverErr, clientErr := shake(t, bus, config); serverErr != nil || clientErr != nil {
		t.Errorf("renewed: %v, %v", serverErr, clientErr)
	}
	w.pass(trust.Validity + 1)
	if _, err := shake(t, bus, caller(nodeCred)); !errors.Is(err, trust.ErrExpired) {
		t.Errorf("of a head that ran out its node says %v", err)
	}
}

// A session that is resumed is judged anew.
func TestResumptionAfterRevocation(t *testing.T) {
	w := newWorld(t)
	headCred := trusttest.Credential(t, w.Authority, head("pi0"))
	nodeCred := trusttest.Credential(t, w.Authority, node("pi1"))
	server := trust.ServerConfig(headCred, w.Verify, w.now)
	caller := trust.ClientConfig(nodeCred, w.Verify, w.now)
	caller.ServerName = "head"
	caller.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for range 2 {
		if serverErr, clientErr := shake(t, server, caller); serverErr != nil || clientErr != nil {
			t.Fatal(serverErr, clientErr)
		}
	}
	must(t, w.RevokeNode(t.Context(), "pi1"))
	serverErr, _ := shake(t, server, caller)
	refuses(t, serverErr, fault.Denied, "removed")
}

func TestPinnedJoin(t *testing.T) {
	w := newWorld(t)
	token := w.token(nodes)
	headCred := trusttest.Credential(t, w.Authority, head("pi0"))
	nodeKey := newKey(t)
	nodeCert, err := w.join(token, nodeKey, "evil")
	must(t, err)
	nodeCred, err := trust.NewCredential(nodeKey, nodeCert, w.CA().Cert())
	must(t, err)
	foreign := trusttest.Credential(t, trusttest.Authority(t, w.now), head("pi0"))
	mixed := func(leaf *trust.Credential, key *ecdsa.PrivateKey) *tls.Config { // a stranger who shows our CA
		chain := [][]byte{leaf.Cert().Raw, w.CA().Cert().Raw}
		return &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}, Time: w.now}
	}
	foreignKey := newKey(t)
	foreignCA := trusttest.Authority(t, w.now).CA()
	foreignCert, err := foreignCA.IssueServer("pi0", &foreignKey.PublicKey, nil)
	must(t, err)
	foreignOwn, err := trust.NewCredential(foreignKey, foreignCert, foreignCA.Cert())
	must(t, err)
	noCA := mixed(nodeCred, nodeKey)
	noCA.Certificates[0].Certificate = noCA.Certificates[0].Certificate[:1]

	tests := []struct {
		name   string
		server *tls.Config
		good   bool
	}{
		{"the head's joining port", trust.JoinConfig(headCred, w.Verify, w.now), true},
		{"the head's dashboard", trust.WebConfig(headCred, w.now), true},
		{"another cluster's head", trust.JoinConfig(foreign, w.Verify, w.now), false},
		{"another's certificate with our CA beside it", mixed(foreignOwn, foreignKey), false},
		{"a node in the middle", trust.JoinConfig(nodeCred, w.Verify, w.now), false},
		{"a node that signs for itself", rogue(t, w, nodeKey, nodeCert), false},
		{"no CA shown", noCA, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			serverErr, clientErr := shake(t, test.server, trust.PinnedConfig(token.CA, w.now))
			if test.good && (serverErr != nil || clientErr != nil) {
				t.Fatalf("server: %v, joiner: %v", serverErr, clientErr)
			}
			if !test.good {
				refuses(t, clientErr, fault.Denied, "")
			}
		})
	}
}

// A CA certificate of somebody's own making around the pinned key is not the pinned CA.
func TestPinnedCAIsSignedByItself(t *testing.T) {
	w := newWorld(t)
	forger := newKey(t)
	parent := *w.CA().Cert()
	parent.PublicKey = &forger.PublicKey
	der, err := x509.CreateCertificate(rand.Reader, w.CA().Cert(), &parent, w.CA().Cert().PublicKey, forger)
	must(t, err)
	forged, err := x509.ParseCertificate(der)
	must(t, err)
	pin := trust.PinOf(w.CA().Cert())
	if trust.PinOf(forged) != pin {
		t.Fatal("the forgery has another key")
	}
	_, err = trust.PinnedCA(tls.ConnectionState{PeerCertificates: []*x509.Certificate{forged}}, pin)
	refuses(t, err, fault.Denied, "not the head")
	got, err := trust.PinnedCA(tls.ConnectionState{PeerCertificates: []*x509.Certificate{w.CA().Cert()}}, pin)
	if err != nil || !got.Equal(w.CA().Cert()) {
		t.Errorf("got %v", err)
	}
}

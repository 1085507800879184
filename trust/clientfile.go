package trust

import (
	"encoding/json"

	"bramble/fault"
)

// ClientFile is all that a laptop needs to use a cluster, in one JSON file (0600):
//
//	{"cluster": "…", "user": "…", "role": "viewer|operator|admin",
//	 "heads": ["host:7650"], "join": "host:7651", "web": "https://host:7652",
//	 "ca": "PEM", "cert": "PEM", "key": "PEM, PKCS #8"}
type ClientFile struct {
	Cluster string   `json:"cluster"`
	User    string   `json:"user"`
	Role    Role     `json:"role"`
	Heads   []string `json:"heads"` // bus addresses, host:port
	Join    string   `json:"join"`  // where to renew and to reach peers, host:port
	Web     string   `json:"web"`   // the dashboard's address, a URL
	CA      string   `json:"ca"`    // PEM
	Cert    string   `json:"cert"`  // PEM
	Key     string   `json:"key"`   // PEM
}

// ClientFileExt ends the names of client files that people are given.
const ClientFileExt = ".bramble"

// LoadClientFile reads a client file; one whose parts do not fit together is fault.Misused.
func LoadClientFile(path string) (*ClientFile, error) {
	text, err := readFile(path, "bramble client create NAME --role ROLE, on the head")
	if err != nil {
		return nil, err
	}
	var file ClientFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fault.New(fault.Misused, "%s is not a client file: %w", path, err).
			Hint("make one on the head: bramble client create NAME --role ROLE")
	}
	if _, err := file.Credential(); err != nil {
		return nil, fault.New(fault.Misused, "%s is not a whole client file: %w", path, err).
			Hint("make it again on the head: bramble client create NAME --role ROLE")
	}
	return &file, nil
}

// Save writes the client file.
func (f *ClientFile) Save(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fault.New(fault.Failed, "write a client file: %w", err)
	}
	return WriteFile(path, append(text, '\n'))
}

// SetCredential puts a credential into the file, user and role with it.
func (f *ClientFile) SetCredential(cred *Credential) error {
	key, err := encodeKey(cred.key)
	if err != nil {
		return err
	}
	id := cred.Identity()
	f.User, f.Role = id.Name, id.Role
	f.CA, f.Cert, f.Key = string(EncodeCertificates(cred.CA())), string(EncodeCertificates(cred.Cert())), string(key)
	return nil
}

// Credential is what the file proves its holder with.
func (f *ClientFile) Credential() (*Credential, error) {
	key, err := parseKey([]byte(f.Key))
	if err != nil {
		return nil, err
	}
	cert, err := ParseCertificates([]byte(f.Cert))
	if err != nil {
		return nil, err
	}
	ca, err := ParseCertificates([]byte(f.CA))
	if err != nil {
		return nil, err
	}
	cred, err := NewCredential(key, cert[0], ca[0])
	if err != nil {
		return nil, err
	}
	want := Identity{Kind: KindClient, Name: f.User, Role: f.Role}
	if got := cred.Identity().party(); got != want {
		return nil, fault.New(fault.Misused, "its certificate is that of %s, not of %s", got, want)
	}
	return cred, nil
}

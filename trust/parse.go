package trust

import (
	"net/url"
)

// ParseIdentity reads what Identity.String writes.
func ParseIdentity(text string) (Identity, error) {
	uri, err := url.Parse(scheme + "://" + text)
	if err != nil {
		return Identity{}, err
	}
	return parseURI(uri)
}

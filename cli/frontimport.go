package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"bramble/fault"
	"bramble/front"
	"bramble/term"
)

type frontImportCmd struct {
	Program string `arg:"" help:"Whose configuration it is: ${enum}." enum:"apache,nginx"`
	File    string `arg:"" help:"The file, or - for standard input. What it includes is not read."`
	JSON    bool   `help:"An object: fronts, each with its command and what it serves, and untaken, the lines that were left out."`
}

func (frontImportCmd) Examples() string {
	return `bramble front import apache /etc/apache2/sites-enabled/balancer.conf
bramble front import nginx /etc/nginx/nginx.conf --json
nginx -T | bramble front import nginx -      # with all that it includes
`
}

// importedFront is a front as --json has it.
type importedFront struct {
	Command string     `json:"command"`
	Spec    front.Spec `json:"spec"`
}

func (c *frontImportCmd) Run(e *env) error {
	text, err := c.read()
	if err != nil {
		return err
	}
	read := front.ImportApache
	if c.Program == "nginx" {
		read = front.ImportNginx
	}
	im, err := read(text)
	if err != nil {
		return fault.New(fault.Misused, "%s: %w", c.File, err).Hint("%s", fault.Of(err).Try)
	}
	if c.JSON {
		if err := c.object(e, im); err != nil {
			return err
		}
	} else {
		for _, s := range im.Setups {
			if _, err := io.WriteString(e.out.Stdout, s.Command()); err != nil {
				return err
			}
		}
	}
	tellUntaken(e.out.Stderr, im.Untaken)
	switch n := im.Matter(); n {
	case 0:
		return nil
	case 1:
		return fault.New(fault.Partial, "a line of %s was not taken", c.File).Hint("the lines above say which and why")
	default:
		return fault.New(fault.Partial, "%d lines of %s were not taken", n, c.File).Hint("the lines above say which and why")
	}
}

// read reads the file, not much further than it may go.
func (c *frontImportCmd) read() (string, error) {
	from := os.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fault.New(fault.NotFound, "there is no file %s", c.File).Hint("ls /etc/%s*", c.Program)
		}
		if err != nil {
			return "", fault.New(fault.Failed, "cannot read %s: %w", c.File, err).Hint("sudo, where only root may read it")
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, front.MaxImport+1))
	if err != nil {
		return "", fault.New(fault.Misused, "cannot read %s: %w", c.File, err).Hint("a file, not a folder")
	}
	return string(text), nil
}

// object prints all as JSON, with the addresses of names.
func (c *frontImportCmd) object(e *env, im front.Imported) error {
	all := struct {
		Fronts  []importedFront `json:"fronts"`
		Untaken []front.Untaken `json:"untaken"`
	}{[]importedFront{}, im.Untaken}
	if all.Untaken == nil {
		all.Untaken = []front.Untaken{}
	}
	for _, s := range im.Setups {
		pools, err := front.Pools(e.ctx, s.Backends, s.Common)
		if err != nil {
			return err
		}
		all.Fronts = append(all.Fronts, importedFront{s.Command(), front.Spec{Pools: pools}})
	}
	return term.JSON(e.out.Stdout, all)
}

// tellUntaken names what was not taken, dimmed where nobody will miss it.
func tellUntaken(to *term.Stream, all []front.Untaken) {
	for _, u := range all {
		text, why := strings.Join(strings.Fields(clean(u.Text)), " "), clean(u.Why)
		if u.Line > 0 {
			text = fmt.Sprintf("line %d: %s", u.Line, text)
		}
		if u.Matters {
			fmt.Fprintf(to, "%s %s\n", to.Warn("not taken: "+text+":"), why)
		} else {
			fmt.Fprintf(to, "%s\n", to.Dim("not needed: "+text+": "+why))
		}
	}
}

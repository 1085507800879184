package web

import (
	"net/http"

	"bramble/artefact"
)

// artefactView is the Artefacts page.
type artefactView struct {
	Spreads spreadsView
	Kept    keptView
}

func (s *Server) artefactPage(w http.ResponseWriter, r *http.Request, v visitor) (err error) {
	var view artefactView
	if view.Spreads, err = readSpreads(r.Context(), v); err != nil {
		return err
	}
	if view.Kept, err = s.readKept(r.Context(), v, false); err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, "artefact", &v, "Artefacts", view)
	return nil
}

func (s *Server) apiDurables(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, err := v.durables().List(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}

// copies and durables ask as the person signed in, and move no bytes.
func (v visitor) copies() artefact.Copier     { return artefact.Copier{Conn: v.cluster.Conn} }
func (v visitor) durables() artefact.Durables { return artefact.Durables{Conn: v.cluster.Conn} }

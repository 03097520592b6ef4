package authz

import (
	"net/http"
	"slices"
)

// What users see of the apps that they have granted something.

func (h *handler) newWireGrant(r *http.Request, g Grant) wireGrant {
	return wireGrant{
		ID:        g.ID,
		URL:       h.grantURL(r, g.ID),
		App:       newWireApp(g.App),
		CreatedAt: wireTime(g.CreatedAt),
		UpdatedAt: wireTime(g.UpdatedAt),
		Scopes:    g.Scopes,
	}
}

// listGrants answers GET /applications/grants.
func (h *handler) listGrants(w *response, r *http.Request) {
	ctx, cancel := h.bounded(r)
	defer cancel()
	grants, err := h.m.Grants(ctx, w.user.ID)
	if err != nil {
		w.fail(found(err))
		return
	}
	query, total := r.URL.Query(), int64(len(grants))
	if clientID := query.Get("client_id"); clientID != "" {
		grants = slices.DeleteFunc(grants, func(g Grant) bool { return g.App.ClientID != clientID })
		total = int64(len(grants))
	}
	page := newPage(query, h.cfg.MaxPerPage, "client_id")
	skip, ok := page.skip(total)
	if !ok {
		skip = len(grants)
	}
	grants = grants[skip:min(skip+page.size, len(grants))]
	out := make([]wireGrant, len(grants))
	for i, g := range grants {
		out[i] = h.newWireGrant(r, g)
	}
	if link := page.link(h.root(r)+"/applications/grants", total); link != "" {
		w.Header().Set("Link", link)
	}
	w.fresh(out)
}

// getGrant answers GET /applications/grants/{id}.
func (h *handler) getGrant(w *response, r *http.Request) {
	ctx, cancel := h.bounded(r)
	defer cancel()
	grant, err := h.m.Grant(ctx, w.user.ID, pathID(r))
	if err != nil {
		w.fail(err)
		return
	}
	w.lastModified(grant.UpdatedAt)
	w.fresh(h.newWireGrant(r, grant))
}

// deleteGrant answers DELETE /applications/grants/{id}.
func (h *handler) deleteGrant(w *response, r *http.Request) {
	if err := w.unread(); err != nil {
		w.fail(err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	if _, err := h.m.DeleteGrant(ctx, w.user.ID, pathID(r)); err != nil {
		w.fail(err)
		return
	}
	w.empty(http.StatusNoContent)
}

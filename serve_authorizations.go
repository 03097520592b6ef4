package authz

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// What users do with their authorizations.

// getOrCreate answers PUT /authorizations/clients/{client_id}[/{fingerprint}].
func (h *handler) getOrCreate(w *response, r *http.Request) {
	if err := w.bodyErr; err != nil {
		w.fail(err)
		return
	}
	req, bodyClientID, err := decodeGetOrCreate(w.body)
	if err != nil {
		w.fail(err)
		return
	}
	req.Owner, req.ClientID = w.user.ID, r.PathValue("client_id")
	var p problems
	req.IdempotencyKey = p.idempotencyHeader(r)
	if bodyClientID != nil && *bodyClientID != req.ClientID {
		p.invalid("client_id", "must be the one in the path")
	}
	if fingerprint := pathFingerprint(r); fingerprint != "" {
		if req.Fingerprint != "" && req.Fingerprint != fingerprint {
			p.invalid("fingerprint", "must be the one in the path")
		}
		req.Fingerprint = fingerprint
	}
	if err := p.err(); err != nil {
		w.fail(err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	result, err := h.m.GetOrCreate(ctx, req)
	if err != nil {
		err = found(err)
		if exists := new(ExistsError); errors.As(err, &exists) {
			w.Header().Set("Location", authorizationURL(h.root(r), exists.ID))
		}
		w.fail(err)
		return
	}
	if result.NotApplied != nil {
		w.Header().Set("Authz-Not-Applied", strings.Join(result.NotApplied, ", "))
	}
	h.made(w, r, result)
}

// made answers a request that asked for an authorization.
func (h *handler) made(w *response, r *http.Request, result Result) {
	out := h.shows(h.root(r), result.Authorization, result.App, result.Token)
	w.Header().Set("Location", out.URL)
	w.replayed(result)
	status := http.StatusOK
	if result.Created {
		status = http.StatusCreated
	}
	w.json(status, &out)
}

func (w *response) replayed(result Result) {
	if result.Replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
}

// idempotencyHeader reads the Idempotency-Key. A header without a value is no
// key, and whoever sent it must not believe that there is one.
func (p *problems) idempotencyHeader(r *http.Request) Secret {
	values := r.Header.Values(idempotencyKeyField)
	if len(values) == 1 && values[0] == "" {
		p.invalid(idempotencyKeyField, "must not be empty")
	}
	return NewSecret(r.Header.Get(idempotencyKeyField))
}

// pathFingerprint is the fingerprint in the path, or "". The pattern says if
// there is one: a router in front can have a path value of the same name.
func pathFingerprint(r *http.Request) string {
	switch {
	case strings.HasSuffix(r.Pattern, "/{fingerprint}"):
		return r.PathValue("fingerprint")
	case strings.HasSuffix(r.Pattern, "/{$}"):
		return "/"
	}
	return ""
}

// create answers POST /authorizations.
func (h *handler) create(w *response, r *http.Request) {
	if err := w.bodyErr; err != nil {
		w.fail(err)
		return
	}
	req, err := decodeCreate(w.body)
	var p problems
	if req.IdempotencyKey = p.idempotencyHeader(r); err == nil {
		err = p.err()
	}
	if err != nil {
		w.fail(err)
		return
	}
	req.Owner = w.user.ID
	ctx, cancel := h.bounded(r)
	defer cancel()
	result, err := h.m.Create(ctx, req)
	if err != nil {
		w.fail(found(err))
		return
	}
	h.made(w, r, result)
}

// list answers GET /authorizations.
func (h *handler) list(w *response, r *http.Request) {
	ctx, cancel := h.bounded(r)
	defer cancel()
	query := r.URL.Query()
	clientID := query.Get("client_id")
	total, err := h.m.Count(ctx, w.user.ID, clientID)
	if err != nil {
		w.fail(found(err))
		return
	}
	page := newPage(query, h.cfg.MaxPerPage, "client_id")
	var recs []Authorization
	if skip, ok := page.skip(total); ok {
		recs, err = h.m.List(ctx, w.user.ID, ListOptions{ClientID: clientID, Skip: skip, Limit: page.size})
		if err != nil {
			w.fail(found(err))
			return
		}
	}
	apps := make(map[string]App) // few apps make many authorizations
	out, root := make(wireAuthorizations, len(recs)), h.root(r)
	for i, rec := range recs {
		app, known := apps[rec.ClientID]
		if !known || rec.ClientID == "" {
			if app, err = h.m.AppOf(ctx, rec); errors.Is(err, ErrNotFound) {
				app = App{ClientID: rec.ClientID} // deleted meanwhile
			} else if err != nil {
				w.fail(err)
				return
			}
			apps[rec.ClientID] = app
		}
		out[i] = h.shows(root, rec, app, Secret{})
	}
	if link := page.link(root+"/authorizations", total); link != "" {
		w.Header().Set("Link", link)
	}
	w.fresh(out)
}

// get answers GET /authorizations/{id}.
func (h *handler) get(w *response, r *http.Request) {
	ctx, cancel := h.bounded(r)
	defer cancel()
	rec, err := h.m.Get(ctx, w.user.ID, pathID(r))
	if err != nil {
		w.fail(err)
		return
	}
	app, err := h.m.AppOf(ctx, rec)
	if err != nil {
		w.fail(err)
		return
	}
	w.lastModified(rec.UpdatedAt)
	out := h.shows(h.root(r), rec, app, Secret{})
	w.fresh(&out)
}

func (w *response) lastModified(t time.Time) {
	w.Header().Set("Last-Modified", t.UTC().Format(http.TimeFormat))
}

// update answers PATCH /authorizations/{id}, and POST for clients that cannot.
func (h *handler) update(w *response, r *http.Request) {
	if err := w.bodyErr; err != nil {
		w.fail(err)
		return
	}
	u, err := decodeUpdate(w.body)
	if err != nil {
		w.fail(err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	rec, err := h.m.Update(ctx, w.user.ID, pathID(r), u)
	if err != nil {
		w.fail(err)
		return
	}
	app, err := h.m.AppOf(ctx, rec)
	if err != nil {
		w.fail(err)
		return
	}
	out := h.shows(h.root(r), rec, app, Secret{})
	w.json(http.StatusOK, &out)
}

// delete answers DELETE /authorizations/{id}.
func (h *handler) delete(w *response, r *http.Request) {
	if err := w.unread(); err != nil {
		w.fail(err)
		return
	}
	ctx, cancel := h.bounded(r)
	defer cancel()
	if err := h.m.Delete(ctx, w.user.ID, pathID(r)); err != nil {
		w.fail(err)
		return
	}
	w.empty(http.StatusNoContent)
}

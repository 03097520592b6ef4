package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Keeper is where a tool keeps its token between runs: a file ([File]), the
// system's keyring, a database.
type Keeper interface {
	// Load returns the token, or "" if none is kept.
	Load(ctx context.Context) (token string, err error)
	// Save keeps the token in the place of the one before. Save of "" forgets
	// it.
	Save(ctx context.Context, token string) error
}

// Token returns the token that k keeps. If there is none, it asks login for
// credentials, gets a token with [Client.GetOrCreate], and has k keep it.
//
// A kept token is not checked: if a server refuses it, forget it with
// k.Save(ctx, "") and call Token again. OnExistingRotate is mostly right in req,
// along with a Fingerprint for each machine: where no token is kept, that of an
// existing authorization is lost. But do not let two processes log in at once:
// the token that is kept last may be the one that died.
//
// If only k.Save failed, the token is returned beside the error; it cannot be
// had again. Errors of k and login are wrapped; others are those of GetOrCreate.
func (c *Client) Token(ctx context.Context, k Keeper, login func(context.Context) (Credentials, error), req Request) (string, error) {
	token, err := k.Load(ctx)
	if err != nil {
		return "", fmt.Errorf("client: loading the token: %w", err)
	}
	if token != "" {
		return token, nil
	}
	user, err := login(ctx)
	if err != nil {
		return "", fmt.Errorf("client: login: %w", err)
	}
	result, err := c.GetOrCreate(ctx, user, req)
	if err != nil {
		return "", err
	}
	token = result.Token.Reveal()
	if err := k.Save(ctx, token); err != nil {
		return token, fmt.Errorf("client: keeping the token: %w", err)
	}
	return token, nil
}

// File is a [Keeper] that keeps the token in the file with this path, such as
// "acme/token" below [os.UserConfigDir]. It is for the user's eyes only: Save
// gives the file mode 0600, and a missing folder 0700; Load refuses a file that
// others may read (not on Windows, where the profile's folder protects it).
// Save replaces the file at one stroke, so that a crash leaves the old token or
// the new one, and follows a symbolic link.
type File string

const maxTokenFile = 64 << 10

// Load returns the token in the file, or "" if there is no file.
func (f File) Load(context.Context) (string, error) {
	file, err := os.Open(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a file", string(f))
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others (mode %#o): take it for known, or run chmod 600 on it", string(f), info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxTokenFile {
		return "", fmt.Errorf("%s is too large for a token", string(f))
	}
	return strings.TrimSpace(string(content)), nil
}

// target is where symbolic links lead, also if there is nothing yet.
func (f File) target() string {
	path := string(f)
	for range 40 {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			return target
		}
		next, err := os.Readlink(path)
		if err != nil {
			break // no link, or nothing at all
		}
		if !filepath.IsAbs(next) {
			folder := filepath.Dir(path)
			if real, err := filepath.EvalSymlinks(folder); err == nil {
				folder = real
			}
			next = filepath.Join(folder, next)
		}
		path = next
	}
	return path
}

// Save writes the token to the file, or removes the file if token is "".
func (f File) Save(_ context.Context, token string) error {
	path := f.target()
	if token == "" {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(token + "\n")
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

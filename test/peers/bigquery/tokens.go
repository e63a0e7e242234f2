package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Tokens are given for a JWT that is signed as a service account has to, for
// the refresh token "refresh" of the client "client" with the secret "secret",
// and to whoever asks the metadata server; and asked for, where the peer was
// told so.
type tokens struct {
	mu      sync.Mutex
	config  *config
	email   string
	keyID   string
	key     *rsa.PublicKey
	valid   map[string]time.Time
	given   int
	by      map[string]int // how many were given, by way
	refused int
}

const (
	tokenScope = "https://www.googleapis.com/auth/bigquery"
	allScope   = "https://www.googleapis.com/auth/cloud-platform"
)

func newTokens(c *config) (*tokens, error) {
	t := &tokens{config: c, valid: map[string]time.Time{}, by: map[string]int{}}
	if c.serviceKey == "" {
		return t, nil
	}
	raw, err := os.ReadFile(c.serviceKey)
	if err != nil {
		return nil, err
	}
	var file map[string]string
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(file["private_key"]))
	if block == nil {
		return nil, errors.New("no private key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	t.email, t.keyID = file["client_email"], file["private_key_id"]
	t.key = &key.(*rsa.PrivateKey).PublicKey
	return t, nil
}

func (t *tokens) give(way string) map[string]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.given++
	t.by[way]++
	token := fmt.Sprintf("ya29.peer-%d-%d", os.Getpid(), t.given)
	life := time.Duration(t.config.tokenSeconds) * time.Second
	t.valid[token] = time.Now().Add(life)
	return map[string]any{"access_token": token, "token_type": "Bearer",
		"expires_in": t.config.tokenSeconds}
}

func (t *tokens) revoke() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.valid = map[string]time.Time{}
}

func (t *tokens) allowed(header string) bool {
	if !t.config.requireToken {
		return true
	}
	token, ok := strings.CutPrefix(header, "Bearer ")
	t.mu.Lock()
	until, known := t.valid[token]
	t.mu.Unlock()
	if ok && known && time.Now().Before(until) {
		return true
	}
	if ok && strings.Count(token, ".") == 2 && t.verify(token, "") == nil {
		return true
	}
	t.mu.Lock()
	t.refused++
	t.mu.Unlock()
	return false
}

// verify judges a JWT: of the exchange, for audience, or, without one, as a
// token itself.
func (t *tokens) verify(jwt, audience string) error {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 || t.key == nil {
		return errors.New("not a JWT, or no key to judge it by")
	}
	var head, claims map[string]any
	for i, to := range []*map[string]any{&head, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, to); err != nil {
			return err
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(t.key, crypto.SHA256, digest[:], signature); err != nil {
		return err
	}
	return t.verifyClaims(head, claims, audience)
}

func (t *tokens) verifyClaims(head, claims map[string]any, audience string) error {
	iat, _ := claims["iat"].(float64)
	exp, _ := claims["exp"].(float64)
	now := float64(time.Now().Unix())
	switch {
	case head["alg"] != "RS256" || head["kid"] != t.keyID:
		return errors.New("alg or kid")
	case claims["iss"] != t.email:
		return errors.New("iss")
	case iat > now+60 || exp <= now || exp-iat > 3600:
		return errors.New("iat or exp")
	case audience == "" && (claims["sub"] != t.email || claims["scope"] != allScope):
		return errors.New("sub or scope of a self-signed token")
	case audience != "" && claims["scope"] != tokenScope:
		return errors.New("scope")
	case audience != "" && claims["aud"] != audience &&
		claims["aud"] != "https://oauth2.googleapis.com/token":
		return errors.New("aud")
	}
	return nil
}

// The token endpoint, and the metadata server's path.
func (p *peer) token(w http.ResponseWriter, r *http.Request, body []byte) {
	refuse := func(code int, kind, why string) {
		p.send(w, answer{code, map[string]any{"error": kind, "error_description": why}})
	}
	if err := p.faults.meet(r.Context(), "token", "before",
		func() { panic(http.ErrAbortHandler) }); err != nil {
		p.send(w, faultAnswer(err))
		return
	}
	if strings.HasPrefix(r.URL.Path, "/computeMetadata/") {
		if r.Header.Get("Metadata-Flavor") != "Google" {
			refuse(http.StatusForbidden, "forbidden", "no Metadata-Flavor")
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		p.send(w, answer{http.StatusOK, p.tokens.give("metadata")})
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		refuse(http.StatusBadRequest, "invalid_request", "not a form")
		return
	}
	switch form.Get("grant_type") {
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if err := p.tokens.verify(form.Get("assertion"), "http://"+r.Host+"/token"); err != nil {
			refuse(http.StatusBadRequest, "invalid_grant", err.Error())
			return
		}
		p.send(w, answer{http.StatusOK, p.tokens.give("jwt")})
	case "refresh_token":
		if form.Get("client_id") != "client" || form.Get("client_secret") != "s&cret" ||
			form.Get("refresh_token") != "1//refresh" {
			refuse(http.StatusBadRequest, "invalid_grant", "Token has been expired or revoked.")
			return
		}
		p.send(w, answer{http.StatusOK, p.tokens.give("refresh")})
	default:
		refuse(http.StatusBadRequest, "unsupported_grant_type", "")
	}
}

func (p *peer) authorize(ctx context.Context) error {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	header := ""
	if len(values) > 0 {
		header = values[0]
	}
	if p.tokens.allowed(header) {
		return nil
	}
	return status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
}

func (p *peer) authorizeUnary(ctx context.Context, in any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := p.authorize(ctx); err != nil {
		return nil, err
	}
	return next(ctx, in)
}

func (p *peer) authorizeStream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := p.authorize(s.Context()); err != nil {
		return err
	}
	return next(srv, s)
}

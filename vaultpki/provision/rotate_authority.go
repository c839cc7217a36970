package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// authorityRotation is the rotation of an intermediate, or of a root and the
// intermediate below it. Everybody trusts the self-signed certificates among
// the issuers of the mount, and whoever shows a leaf shows its intermediate; so
// a new intermediate needs no notice, and a new root needs to be published
// before anything is signed below it.
type authorityRotation struct {
	authority
	settle time.Duration
	root   bool // else the intermediate alone
}

// unvouch implements [machine]: no step here waits for a person's word.
func (r *authorityRotation) unvouch() {}

// standing is what there is of an authority.
type standing struct {
	roots   []issuer // of the root mount, with keys, oldest first
	here    []issuer // of the mount
	current issuer   // signs leaves
	above   issuer   // signed current; current itself if it is a root
	newest  issuer   // the root that is to be in use; above, or one made since
	// Paths of keys of ours whose issuers are gone, in both mounts.
	orphans []string
}

// look reads the standing.
func (a authority) look(ctx context.Context, client *Client) (standing, error) {
	var s standing
	all, err := client.issuers(ctx, a.RootMount)
	if err != nil {
		return s, err
	}
	for _, i := range all {
		if i.keyID != "" && i.isRoot() {
			s.roots = append(s.roots, i)
		}
	}
	if s.here, err = client.issuers(ctx, a.mount); err != nil {
		return s, err
	}
	var found bool
	if s.current, found = find(s.here, signs); !found {
		return s, fmt.Errorf("looking at %s: nothing signs there: run `sallyport provision apply`", a.mount)
	}
	if s.above, found = find(s.roots, s.current.signedBy); !found && s.current.isRoot() {
		s.above, found = s.current, true
	}
	if !found {
		return s, fmt.Errorf("looking at %s: what signs there is below %q, which is not in %s: rotate it where its root is", a.mount, s.current.cert.Issuer, a.RootMount)
	}
	s.newest = s.above
	for _, root := range s.roots {
		if root.generation() > s.newest.generation() {
			s.newest = root
		}
	}
	here, err := client.orphans(ctx, a.mount, s.here, s.current.generation())
	if err != nil {
		return s, err
	}
	above, err := client.orphans(ctx, a.RootMount, all, s.newest.generation())
	s.orphans = slices.Concat(here, above)
	return s, err
}

// orphans returns the keys of a mount that we made, and that no issuer has any
// more. One with a higher number than the current one's is of a step that was
// not finished.
func (c *Client) orphans(ctx context.Context, mount string, issuers []issuer, current int) ([]string, error) {
	keys, err := c.list(ctx, mount+"/keys")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, id := range sortedKeys(keys) {
		name, _ := keys[id]["key_name"].(string)
		_, used := find(issuers, func(i issuer) bool { return i.keyID == id })
		if n := generation(name); !used && n > 0 && n < current {
			found = append(found, mount+"/key/"+id)
		}
	}
	return found, nil
}

// leftovers returns the issuers of the mount that came before the current ones.
// What an operator put there, under names of his own, is none of them.
func (s standing) leftovers() []issuer {
	var old []issuer
	for _, i := range s.here {
		_, inRoots := find(s.roots, i.same)
		ours := generation(i.keyName) > 0 || generation(i.name) > 0 || inRoots
		if ours && !i.same(s.current) && !i.same(s.newest) {
			old = append(old, i)
		}
	}
	return old
}

// successor returns the intermediate that is ready to follow the current one,
// below the newest root.
func (s standing) successor() (issuer, bool) {
	ready := slices.DeleteFunc(slices.Clone(s.here), func(i issuer) bool {
		return i.keyID == "" || i.isRoot() || !i.signedBy(s.newest) || i.same(s.current) ||
			i.signedBy(s.above) && i.generation() <= s.current.generation()
	})
	if len(ready) == 0 {
		return issuer{}, false
	}
	return ready[len(ready)-1], true
}

// next implements [machine].
func (r *authorityRotation) next(ctx context.Context, client *Client) (Step, error) {
	s, err := r.look(ctx, client)
	if err != nil {
		return Step{}, err
	}
	if err := r.followed(ctx, client); err != nil {
		return Step{}, err
	}
	underNew := s.newest.same(s.above)
	if !r.root {
		if err := r.alone(s, underNew); err != nil {
			return Step{}, err
		}
	}
	if !underNew {
		if step, due := r.publishing(s); due {
			return step, nil
		}
	}
	if successor, ready := s.successor(); ready {
		return r.switching(successor), nil
	}
	if !underNew {
		published, _ := find(s.here, s.newest.same)
		at, _ := published.when("published")
		return r.signing("intermediate", s, at.Add(r.settle)), nil
	}
	if step, due, err := r.retiring(ctx, client, s); err != nil || due {
		return step, err
	}
	last := s.current.made()
	if at, dated := s.current.when("rotated"); dated && at.After(last) {
		last = at
	}
	begin := r.signing("next", s, last.Add(r.settle))
	if r.root {
		begin.Text = "makes the next root of " + r.RootMount
		begin.do = func(ctx context.Context, client *Client) error { return r.nextRoot(ctx, client, s) }
	}
	begin.First = true
	return begin, nil
}

// alone refuses to rotate the intermediate where there is none, and in the
// middle of a rotation of the root.
func (r *authorityRotation) alone(s standing, underNew bool) error {
	old := slices.ContainsFunc(s.leftovers(), issuer.isRoot)
	switch {
	case s.current.isRoot():
		return fmt.Errorf("looking at %s: its root signs leaves itself: `sallyport provision rotate root` makes one above an intermediate", r.mount)
	case !underNew || old || len(s.roots) > 1:
		return fmt.Errorf("looking at %s: a rotation of its root is under way: `sallyport provision rotate root` goes on with it", r.mount)
	}
	return nil
}

// nextRoot makes the next root, and its mount where an authority had none above
// it yet.
func (r *authorityRotation) nextRoot(ctx context.Context, client *Client, s standing) error {
	change, err := r.asMount().plan(ctx, client)
	if err != nil {
		return err
	}
	if change != nil && change.Create {
		if err := change.apply(ctx, client); err != nil {
			return err
		}
	}
	return r.generate(ctx, client, "root-"+strconv.Itoa(s.newest.generation()+1))
}

// publishing has everybody trust the newest root, and notes when.
func (r *authorityRotation) publishing(s standing) (Step, bool) {
	published, there := find(s.here, s.newest.same)
	if _, dated := published.when("published"); there && dated {
		return Step{}, false
	}
	return Step{
		Name: "publish", Text: fmt.Sprintf("publishes %s among the issuers of %s; every process trusts it beside the old one", s.newest.name, r.mount),
		do: func(ctx context.Context, client *Client) error { return r.publish(ctx, client, s.newest) },
	}, true
}

// signing makes the next intermediate below the newest root.
func (r *authorityRotation) signing(name string, s standing, due time.Time) Step {
	key := "intermediate-" + strconv.Itoa(s.nextIntermediate())
	return Step{
		Name: name, Text: fmt.Sprintf("makes %s in %s, signed by %s", key, r.mount, s.newest.name), Due: due,
		do: func(ctx context.Context, client *Client) error {
			_, err := r.sign(ctx, client, key, s.newest)
			return err
		},
	}
}

// nextIntermediate is the number of the next intermediate: one more than that of
// the current one, which may be a root.
func (s standing) nextIntermediate() int {
	if s.current.isRoot() {
		return 1
	}
	return s.current.generation() + 1
}

// switching lets the successor sign.
func (r *authorityRotation) switching(successor issuer) Step {
	return Step{
		Name: "switch", Due: successor.made().Add(r.settle),
		Text: fmt.Sprintf("signs leaves of %s with %s; the old ones stay trusted", r.mount, successor.keyName),
		do: func(ctx context.Context, client *Client) error {
			if successor.name == "" {
				if err := r.name(ctx, client, successor, successor.keyName); err != nil {
					return err
				}
			}
			if err := r.use(ctx, client, successor); err != nil {
				return err
			}
			after, err := r.look(ctx, client)
			if err != nil {
				return err
			}
			return r.noteReplaced(ctx, client, after)
		},
	}
}

// noteReplaced notes of each issuer that came before since when nothing is
// signed by it, and until when a leaf below it may live, as the roles are now.
func (r *authorityRotation) noteReplaced(ctx context.Context, client *Client, s standing) error {
	longest, err := client.longestLeaf(ctx, r.mount)
	if err != nil {
		return err
	}
	for _, old := range s.leftovers() {
		if _, dated := old.when("replaced"); dated {
			continue
		}
		now, err := client.moment(ctx)
		if err != nil {
			return err
		}
		named := old.with(old.baseOr("issuer-"+old.id), "replaced", now).withLeaves(now.Add(longest))
		if err := r.name(ctx, client, old, named.name); err != nil {
			return err
		}
	}
	return nil
}

// noteLeaves notes on what is trusted, or on what signs, that leaves which were
// signed so far may live so long. Authorities that we did not name are never
// retired, and nothing is noted of them.
func (a authority) noteLeaves(ctx context.Context, client *Client, life time.Duration) error {
	issuers, err := client.issuers(ctx, a.mount)
	if err != nil {
		return err
	}
	current, _ := find(issuers, signs)
	// Roles may name the issuer that signs; nobody names the root above it.
	holder, found := find(issuers, func(i issuer) bool {
		return current.cert != nil && i.isRoot() && current.signedBy(i) && generation(i.name) > 0
	})
	if !found {
		holder = current
	}
	if generation(holder.name) == 0 {
		return nil
	}
	now, err := client.moment(ctx)
	if err != nil {
		return err
	}
	// Whoever asks before the role is written still gets the longer life.
	named := holder.withLeaves(now.Add(life + time.Minute))
	if named.name == holder.name {
		return nil
	}
	return a.name(ctx, client, holder, named.name)
}

// retiring removes what came before, once the last leaf below it has ended.
func (r *authorityRotation) retiring(ctx context.Context, client *Client, s standing) (Step, bool, error) {
	old := s.leftovers()
	formerRoots := slices.DeleteFunc(slices.Clone(s.roots), s.newest.same)
	if len(old) == 0 && len(s.orphans) == 0 && (!r.root || len(formerRoots) == 0) {
		return Step{}, false, nil
	}
	step := Step{Name: "retire", Text: "removes what signed before from " + r.mount + "; the last leaf below it has ended"}
	if r.root {
		step.Text += "; nobody trusts the old root any more"
	}
	longest, err := client.longestLeaf(ctx, r.mount)
	if err != nil {
		return Step{}, false, err
	}
	var leaves time.Time // until when those may live that a role signed which now grants less
	for _, i := range s.here {
		until, _ := i.when("leaves")
		leaves = later(leaves, until)
	}
	for _, i := range old {
		at, dated := i.when("replaced")
		if !dated { // the switch was not finished
			return Step{Name: "switch", Text: "notes what was replaced in " + r.mount, do: func(ctx context.Context, client *Client) error {
				return r.noteReplaced(ctx, client, s)
			}}, true, nil
		}
		end := earlier(later(at.Add(longest), leaves), i.cert.NotAfter)
		step.Due = later(step.Due, end.Add(r.settle))
	}
	step.do = func(ctx context.Context, client *Client) error { return r.retire(ctx, client, s, formerRoots) }
	return step, true, nil
}

// retire removes intermediates first and the trust in a root last, and at the
// very end the root itself: whatever is left after a kill is found by the next
// look.
func (r *authorityRotation) retire(ctx context.Context, client *Client, s standing, formerRoots []issuer) error {
	old := s.leftovers()
	slices.SortStableFunc(old, func(a, b issuer) int { return rank(a) - rank(b) })
	// So another rotation does not begin at once if the answer to the last call
	// below is lost.
	if err := r.note(ctx, client, s.current, s.current.baseOr("intermediate-0"), "rotated"); err != nil {
		return err
	}
	if err := client.removeIssuers(ctx, r.mount, old, s.current); err != nil {
		return err
	}
	for _, key := range s.orphans {
		if err := client.remove(ctx, key); err != nil {
			return err
		}
	}
	if !r.root || len(formerRoots) == 0 {
		return nil
	}
	if err := client.write(ctx, r.RootMount+"/config/issuers", map[string]any{"default": s.newest.id}); err != nil {
		return err
	}
	return client.removeIssuers(ctx, r.RootMount, formerRoots, s.newest)
}

// rank orders intermediates before roots.
func rank(i issuer) int {
	if i.isRoot() {
		return 1
	}
	return 0
}

// removeIssuers removes issuers and their keys, but not a key that kept uses.
func (c *Client) removeIssuers(ctx context.Context, mount string, old []issuer, kept issuer) error {
	keys := map[string]bool{}
	for _, i := range old {
		if err := c.remove(ctx, mount+"/issuer/"+i.id); err != nil {
			return err
		}
		keys[i.keyID] = i.keyID != "" && i.keyID != kept.keyID
	}
	for _, id := range sortedKeys(keys) {
		if !keys[id] {
			continue
		}
		if err := c.remove(ctx, mount+"/key/"+id); err != nil {
			return err
		}
	}
	return nil
}

// pkiRoles returns the settings of all roles of a PKI mount by their names.
func (c *Client) pkiRoles(ctx context.Context, mount string) (map[string]map[string]any, error) {
	names, err := c.list(ctx, mount+"/roles")
	if err != nil {
		return nil, err
	}
	roles := map[string]map[string]any{}
	for _, name := range sortedKeys(names) {
		role, err := c.read(ctx, mount+"/roles/"+name)
		if err != nil {
			return nil, err
		}
		if role != nil {
			roles[name] = role.Data
		}
	}
	return roles, nil
}

// followed refuses a rotation that a role would not follow, because it names the
// issuer that is to be replaced.
func (a authority) followed(ctx context.Context, client *Client) error {
	roles, err := client.pkiRoles(ctx, a.mount)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(roles) {
		if ref, _ := roles[name]["issuer_ref"].(string); ref != "" && ref != "default" {
			return fmt.Errorf("looking at %s: its role %q signs with the issuer %q and would not follow: set its issuer_ref to default", a.mount, name, ref)
		}
	}
	return nil
}

// longestLeaf returns the longest life that any role of a PKI mount grants now.
func (c *Client) longestLeaf(ctx context.Context, mount string) (time.Duration, error) {
	ceiling, err := c.ceiling(ctx, mount)
	if err != nil {
		return 0, err
	}
	roles, err := c.pkiRoles(ctx, mount)
	if err != nil {
		return 0, err
	}
	var longest time.Duration
	for _, role := range roles {
		longest = max(longest, leafLife(role, ceiling))
	}
	return longest, nil
}

// ceiling is the longest life that a mount grants.
func (c *Client) ceiling(ctx context.Context, mount string) (time.Duration, error) {
	tuned, err := c.read(ctx, "sys/mounts/"+mount+"/tune")
	if err != nil || tuned == nil {
		return 0, err
	}
	return seconds(tuned.Data["max_lease_ttl"]), nil
}

// leafLife is the longest life that a role grants. A date that a role names is
// not bounded by the mount, but by the authority's own end.
func leafLife(role map[string]any, ceiling time.Duration) time.Duration {
	if date, _ := role["not_after"].(string); date != "" {
		return 100 * year
	}
	life := max(seconds(role["max_ttl"]), seconds(role["ttl"]))
	if life == 0 || life > ceiling {
		return ceiling
	}
	return life
}

// earlier and later are the one and the other of two times.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// seconds reads a duration as Vault writes it.
func seconds(value any) time.Duration {
	count, _ := value.(json.Number)
	whole, _ := count.Int64()
	return time.Duration(whole) * time.Second
}

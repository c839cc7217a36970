// Package launch starts programs for a process that has given up the means to do so.
//
// A guard that is confined (package confine) would confine its application as well: Landlock
// and no_new_privs are inherited, and an unmodified application needs files that nobody can
// list. So the guard starts a helper before it confines itself: this binary once more, which
// does nothing but wait on a socket pair until it is asked to start one of the commands that
// it was told of at the beginning.
//
// What it starts becomes a child of the guard and not its own (CLONE_PARENT, clone(2)). So
// whoever supervises waits for it, sends it signals and reaps it as if the guard had started
// it; and a guard that is process 1 of a container stays that.
//
// The helper takes a request for hostile: a guard that was taken over must not get out of its
// confinement by what it asks for. A command is named by its number among those of the
// beginning, and looked up by the helper; a variable of the environment is one that the helper
// itself has, with its value, or has one of the names that were told at the beginning. What
// remains to such a guard is what it could do anyhow: start the application again, with other
// secrets.
//
// When the guard ends, however it ends, the helper ends what it has started, and itself.
package launch

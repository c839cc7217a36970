// Command ensurevault makes sure that this machine has a Vault server for the
// demo and the tests, and links to it; or, with -plugin, that it has one of the
// plugins that the tests have a server run.
//
//	ensurevault -module deploy/dev/vault -link .build/vault
//	ensurevault -module deploy/dev/vault -plugin kubernetes -link .build/vault-plugin-auth-kubernetes
//
// Standard output carries progress and, but for a plugin, one last line that says
// which server it is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/sallyport/sallyport/deploy/dev/program"
	"github.com/sallyport/sallyport/deploy/dev/vaultbin"
)

func main() { program.Main("ensurevault", run) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("ensurevault", flag.ContinueOnError)
	module := flags.String("module", "deploy/dev/vault", "folder of the module that builds Vault")
	plugin := flags.String("plugin", "", "make sure of this plugin, kubernetes, mysql or postgresql, and not of a server")
	link := flags.String("link", "", "symbolic link to make to what was found or built")
	if err := program.Parse(flags, args, stderr); err != nil {
		return err
	}
	userCache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("finding the cache folder: %w", err)
	}
	ensure := vaultbin.Ensure
	if *plugin != "" {
		ensure = func(ctx context.Context, cfg vaultbin.Config) (vaultbin.Binary, error) {
			return vaultbin.EnsurePlugin(ctx, cfg, *plugin)
		}
	}
	bin, err := ensure(ctx, vaultbin.Config{
		ModuleDir: *module,
		CacheDir:  filepath.Join(userCache, "sallyport"),
		Out:       stdout,
		Terminal:  isTerminal(stdout),
	})
	if err != nil {
		return err
	}
	if *link != "" {
		if err := relink(bin.Path, *link); err != nil {
			return err
		}
	}
	if *plugin != "" {
		return nil
	}
	return say(stdout, bin)
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func say(out io.Writer, bin vaultbin.Binary) error {
	name, _, _ := strings.Cut(bin.Version, ",") // the rest is the time of the build
	_, err := fmt.Fprintf(out, "vault: %s, %s: %s\n", name, bin.Origin, bin.Path)
	return err
}

// relink replaces the link at path in one step, so that a test that starts
// meanwhile sees the old target or the new one.
func relink(target, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("making the folder of the link: %w", err)
	}
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Symlink(target, tmp); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("linking to %s: %w", target, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("linking to %s: %w", target, err)
	}
	return nil
}

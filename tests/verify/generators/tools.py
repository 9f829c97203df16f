"""Generators: how each makes its client from openapi.yaml, and how the program that uses it is built."""

import fcntl
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from dev.reaper import ROOT

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
MODULES = HERE / "npm" / "node_modules"
PYPI = HERE / "pypi" / ".venv"
PYTHON = str(PYPI / "bin" / "python")
# Debian's libraries of the clients.
ANNOTATIONS = "/usr/share/java/geronimo-annotation-1.3-spec.jar"
GUZZLE = "/usr/share/php/GuzzleHttp/autoload.php"
TYPHOEUS = "/usr/share/rubygems-integration/all/specifications/typhoeus-1.4.0.gemspec"
# A generator runs for seconds: the second compiler of the JVM would take longer than it saves.
JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
OPENAPI_GENERATOR = "openapi-generator-cli generate -i openapi.yaml -o client"
GO_MODULE = """
module life
go 1.19
require github.com/GIT_USER_ID/GIT_REPO_ID v0.0.0
replace github.com/GIT_USER_ID/GIT_REPO_ID => ./client
"""


@frozen
class Tool:
    """A generator: its command in docs/clients.md, and the program that uses its client."""

    name: str
    command: str
    program: str
    needs: tuple[str, ...] = ()

    @property
    def folders(self) -> list[Path]:
        """The folders with a lock file of what the generator and the client need."""
        used = {"pypi": not self.command.startswith("npx "), "npm": self.program.endswith(".ts")}
        return [HERE / name for name, is_used in used.items() if is_used]

    def build(self, project: Path) -> None:
        """Generate the client in the project's folder, and build the program."""
        project.mkdir()
        shutil.copy(ROOT / "openapi.yaml", project)
        for name in (self.program, "life.ts") if self.program.endswith(".ts") else (self.program,):
            shutil.copy(PROGRAMS / name, project)
        _run(project, *self._generator())
        if builder := _BUILDERS.get(Path(self.program).suffix):
            builder(project, self.program)

    def _generator(self) -> list[str]:
        tool, *arguments = shlex.split(self.command)
        if tool == "openapi-generator-cli":
            return [*JAVA, "-jar", str(jar()), *arguments]
        if tool == "npx":
            return [str(MODULES / ".bin" / arguments[0].rpartition("/")[2]), *arguments[1:]]
        return [str(PYPI / "bin" / tool), *arguments]

    def life(self) -> list[str]:
        """Return the command that runs the program in the project's folder, with `URL` for the service's."""
        stem = Path(self.program).stem
        return {
            ".ts": ["node", f"{stem}.js", "URL"],
            ".py": [PYTHON, self.program, "URL"],
            ".java": [*JAVA, "-cp", _class_path("classes"), stem, "URL"],
            ".go": ["./life", "URL"],
            ".php": ["php", self.program, "URL"],
            ".rb": ["ruby", "-I", "client/lib", self.program, "URL"],
        }[Path(self.program).suffix]


def _openapi_generator(name: str, program: str, *needs: str, options: str = "") -> Tool:
    command = f"{OPENAPI_GENERATOR} -g {name}{options}"
    return Tool(f"openapi-generator-{name}", command, program, ("java", *needs))


def _npx(name: str, options: str) -> Tool:
    return Tool(name, f"npx {name} {options}", f"{name.rpartition('/')[2]}.ts", ("node",))


TOOLS = [
    _openapi_generator("python", "life.py"),
    # Without the option the Java client needs a library that is in none of the registries.
    _openapi_generator(
        "java", "Life.java", "javac", ANNOTATIONS, options=" --library native -p openApiNullable=false"
    ),
    _openapi_generator("go", "life.go", "go"),
    _openapi_generator("php", "life.php", "php", GUZZLE),
    _openapi_generator("ruby", "life.rb", "ruby", TYPHOEUS),
    _openapi_generator("typescript-fetch", "typescript-fetch.ts", "node"),
    _openapi_generator("typescript-axios", "typescript-axios.ts", "node"),
    _npx("@hey-api/openapi-ts", "-i openapi.yaml -o client"),
    _npx("orval", "--input openapi.yaml --output client.ts --client fetch"),
    _npx("swagger-typescript-api", "generate -p openapi.yaml -o . -n client.ts"),
    _npx("openapi-zod-client", "openapi.yaml -o client.ts"),
    Tool(
        "datamodel-code-generator", "datamodel-codegen --input openapi.yaml --output client.py", "models.py"
    ),
]


def jar() -> Path:
    """Return OpenAPI Generator; the Java libraries in it are those that its Java client uses."""
    (found,) = PYPI.glob("lib/*/site-packages/openapi_generator_cli/openapi-generator.jar")
    return found


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Exclude the other test processes."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(folder: Path) -> None:
    """Install the packages of a folder's lock file, unless they are up to date."""
    _run(ROOT, ROOT / "bin" / "lib" / "environment", folder.relative_to(ROOT))


def _class_path(*parts: str) -> str:
    return ":".join([*parts, str(jar()), ANNOTATIONS])


def _build_java(project: Path, program: str) -> None:
    sources = [*project.glob("client/src/main/**/*.java"), project / program]
    options = ["-J-XX:TieredStopAtLevel=1", "-nowarn", "-cp", _class_path(), "-d", "classes"]
    _run(project, "javac", *options, *sources)


def _build_go(project: Path, _: str) -> None:
    (project / "go.mod").write_text(GO_MODULE)
    _run(project, "go", "build", "-mod=mod", "-o", "life", ".")


def _build_typescript(project: Path, program: str) -> None:
    (project / "node_modules").symlink_to(MODULES)
    options = json.loads((PROGRAMS / "tsconfig.json").read_text())
    (project / "tsconfig.json").write_text(json.dumps(options | {"files": [program]}))
    _run(project, MODULES / ".bin" / "tsc", "-p", ".")


_BUILDERS = {".java": _build_java, ".go": _build_go, ".ts": _build_typescript}


def _run(folder: Path, *command: str | Path) -> None:
    """Run a command, which must succeed."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, (command, ended.stdout[-4000:] + ended.stderr[-4000:])

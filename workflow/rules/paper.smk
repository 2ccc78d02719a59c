# The figure and the tables of the paper: ordinary rules, written by hand. What a rule gets from
# the experiment is the key file (code and environment: what makes it run again), paths, and the
# launch prefix (seeds, threads, boot report).


rule figure:
    input:
        key=experiment.key("figure", "workflow/scripts/figure.py", seeding="none"),
        scores=experiment.path("evaluate.scores"),
    output:
        svg=report(
            f"{experiment.results}/figure/figure.svg",
            caption="../report/figure.rst",
            category="Results",
            labels={"result": "Figure"},
        ),
        png=f"{experiment.results}/figure/figure.png",
    log:
        f"{experiment.logs}/figure.log",
    container:
        experiment.container()
    params:
        launch=experiment.launch("figure"),
    shell:
        "{params.launch} python workflow/scripts/figure.py"
        " {input.scores:q} {output.svg:q} {output.png:q} > {log:q} 2>&1"


rule tables:
    input:
        key=experiment.key("tables", "workflow/scripts/tables.py", seeding="none"),
        scores=experiment.path("evaluate.scores"),
    output:
        markdown=report(
            f"{experiment.results}/tables/results.md",
            caption="../report/tables.rst",
            category="Results",
            labels={"result": "Table"},
        ),
        latex=f"{experiment.results}/tables/results.tex",
    log:
        f"{experiment.logs}/tables.log",
    container:
        experiment.container()
    params:
        launch=experiment.launch("tables"),
    shell:
        "{params.launch} python workflow/scripts/tables.py"
        " {input.scores:q} {output.markdown:q} {output.latex:q} > {log:q} 2>&1"

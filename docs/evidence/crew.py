"""A crew of two."""


def press(llm):
    from crewai import Agent, Crew, Task

    reader = Agent(role="Reader", goal="Find facts.", backstory="b", llm=llm)
    writer = Agent(role="Writer", goal="Write.", backstory="b", llm=llm)
    tasks = [
        Task(description="Facts on {message}", expected_output="a line", agent=reader),
        Task(description="A poem about it", expected_output="a line", agent=writer),
    ]
    return Crew(agents=[reader, writer], tasks=tasks)

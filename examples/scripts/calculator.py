"""Works out the calculation in a text: `python calculator.py "What is 12 * (3 + 4)?"`, or the text on stdin.

Exact fractions all the way, so 0.1 + 0.2 is 0.3. Exit code 1 and a line on stderr when there is nothing to calculate.
"""

import ast
import operator
import re
import sys
from fractions import Fraction

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def main() -> int:
    text = " ".join(sys.argv[1:]) or sys.stdin.read()
    try:
        expression = find(text)
        value = shown(calculate(ast.parse(expression, mode="eval").body))
    except ZeroDivisionError:
        print("can't calculate: division by zero", file=sys.stderr)
        return 1
    except (ValueError, SyntaxError, OverflowError, RecursionError) as error:
        print(f"can't calculate: {error}", file=sys.stderr)
        return 1
    print(f"{expression} = {value}")
    return 0


def find(text: str) -> str:
    """The longest piece of the text that looks like a calculation."""
    text = text.replace("^", "**").replace("\N{MULTIPLICATION SIGN}", "*").replace("\N{MINUS SIGN}", "-")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.replace("\N{DIVISION SIGN}", "/"))
    text = re.sub(r"\.(?!\d)", " ; ", text)  # the end of a sentence
    found: list[str] = re.findall(r"[-+*/%().\d\s]+", text)
    pieces = [piece.strip() for piece in found]
    pieces = [piece for piece in pieces if re.search(r"\d\s*[-+*/%]+\s*[-(\d.]", piece)]
    if not pieces:
        raise ValueError("there is no calculation in the text")
    return max(pieces, key=len)


def calculate(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = calculate(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = calculate(node.left), calculate(node.right)
        if isinstance(node.op, ast.Pow):
            digits = max(left.numerator.bit_length(), left.denominator.bit_length())
            if right.denominator != 1 or digits * abs(right) > 10_000:
                raise ValueError("only whole exponents, and results of less than 3,000 digits")
            return left ** int(right)
        if type(node.op) in OPERATORS:
            return Fraction(OPERATORS[type(node.op)](left, right))
    raise ValueError("only numbers, + - * / // % ** and parentheses")


def shown(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.12g}"


if __name__ == "__main__":
    sys.exit(main())

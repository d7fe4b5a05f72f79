"""Cases of the metric as Hub Spaces list them: inputs and the expected result, of which each case gives the main figures."""

DIALOGUE = [{"role": "patient", "content": "头痛两天"}, {"role": "doctor", "content": "发热吗？"}]

test_cases = [
    {
        "predictions": [DIALOGUE, DIALOGUE],
        "replies": [
            "主动性：5\n准确性：4\n有用性：3\n语言质量：5",
            "Proactivity: 3\nAccuracy: 4\nHelpfulness: 3\nLinguistic Quality: 4.5",
        ],
        "result": {
            "proactivity": 4.0,
            "accuracy": 4.0,
            "helpfulness": 3.0,
            "linguistic_quality": 4.75,
            "overall": 3.9375,
            "n": 2,
            "unscored": 0,
        },
    },
    {
        "predictions": [DIALOGUE],
        "replies": ["主动性：5"],
        "result": {
            "proactivity": None,
            "accuracy": None,
            "helpfulness": None,
            "linguistic_quality": None,
            "overall": None,
            "n": 1,
            "unscored": 1,
        },
    },
    {
        "predictions": [DIALOGUE],
        "references": [["询问发热", "建议就诊"]],
        "replies": ["要点1：满足\n要点2：不满足"],
        "rubric": "checklist",
        "result": {"checklist": 0.5, "overall": 0.5, "n": 1, "unscored": 0},
    },
]

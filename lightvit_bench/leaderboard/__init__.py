"""The leaderboard: run records and published results to boards, CSV, page and metafiles. No torch.

    records/*.json            -> measured.rows_of   \\
                                                     > boards.boards_of -> csv_file, readme, page
    leaderboard/published.yml -> published.read_rows /
"""

"""Page vision: page-elements, graphic-elements, table-structure and ocr, with one set of models behind them."""
